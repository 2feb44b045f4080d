"""What this process takes of the machine: its peak memory, and giving back what is done with."""

import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path

PEAK = "VmHWM:"


def release_memory() -> None:
    """Give the memory of models that are done with back to the system; glibc keeps it otherwise."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> None:
    """Start to measure the peak anew, where the system can (Linux); elsewhere it stays that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> float:
    """Return the largest resident memory in GB since `forget_peak`, or since the process began."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith(PEAK)).split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)

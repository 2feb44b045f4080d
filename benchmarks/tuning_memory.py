"""Measure the peak memory of tuning and answering, each as a process started from the command line."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import Numbers, show


def most_memory(*arguments: str) -> Numbers:
    """Run a command of bundlewise; return its peak resident memory in GB."""
    process = subprocess.Popen([sys.executable, "-m", "bundlewise", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"bundlewise {' '.join(arguments)} failed")
    return {"peak_gb": round(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9, 2)}


def main() -> None:
    """Run both and print a table, and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="electronics")
    parser.add_argument("--kb", required=True)
    parser.add_argument("--limit", default="40")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        adapter, common = (
            str(Path(folder) / "adapter"),
            ["--data", given.data, "--kb", given.kb, "--limit", given.limit],
        )
        found = {
            "finetune": most_memory("finetune", *common, "-o", adapter),
            "generate": most_memory("generate", *common, "--adapter", adapter, "-o", str(Path(folder) / "p.jsonl")),
        }
    show({"memory": found})
    print(json.dumps(found))


if __name__ == "__main__":
    main()

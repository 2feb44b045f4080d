"""The process that renders users' own templates; the kernel limits its time and memory."""

import faulthandler
import json
import pickle
import resource
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from bundlewise.errors import DataError, UsageError
from bundlewise.prompts.library import Library
from bundlewise.prompts.outside import FULL, OK, UNKNOWN, WRONG
from bundlewise.prompts.template import SUFFIX, Template

MEGABYTES = 256
"""The most memory of the whole process."""
RESERVE = 32
"""More megabytes, so that the process can still report that its memory is used up."""
LIBRARIES = 8


def serve(handle: int) -> None:
    """Answer questions from a socket until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The asking process handles Ctrl-C.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # The kernel can end the process even in C code; faulthandler first writes the line of the template to stderr.
    faulthandler.register(signal.SIGALRM, all_threads=False, chain=True)
    faulthandler.enable(all_threads=False)
    _limit(MEGABYTES)
    line, libraries = Connection(handle), OrderedDict[bytes, Library]()
    line.send_bytes(OK)
    while True:
        try:
            seconds, own, asked = pickle.loads(line.recv_bytes())
        except (EOFError, OSError):
            return
        signal.setitimer(signal.ITIMER_REAL, seconds)
        reply = _reply(own, asked, libraries)
        signal.setitimer(signal.ITIMER_REAL, 0)
        line.send_bytes(reply)
        if reply[:1] == FULL:
            return


def _limit(megabytes: int) -> None:
    most = (megabytes << 20, (megabytes + RESERVE) << 20)
    resource.setrlimit(resource.RLIMIT_AS, most)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _reply(own: bytes, asked: bytes, libraries: OrderedDict[bytes, Library]) -> bytes:
    """Return the reply to a question."""
    what, name, given = pickle.loads(asked)
    library = _library(own, libraries)
    try:
        return OK + WORK[what](library, name, given).encode()
    except DataError as error:
        return (FULL if isinstance(error.__cause__, MemoryError) else WRONG) + str(error).encode()
    except UsageError as error:
        return UNKNOWN + str(error).encode()
    except MemoryError as error:  # The memory was too small even for the message about the fault.
        resource.setrlimit(resource.RLIMIT_AS, ((MEGABYTES + RESERVE) << 20,) * 2)
        return FULL + str(library.fault(name, error)).encode()


def _library(own: bytes, libraries: OrderedDict[bytes, Library]) -> Library:
    """Return the library of the user's templates; the last ones are kept with their compiled templates."""
    if own not in libraries:
        libraries[own] = Library({name: Template(name, *rest) for name, *rest in pickle.loads(own)})
    libraries.move_to_end(own)
    while len(libraries) > LIBRARIES:
        libraries.popitem(last=False)
    return libraries[own]


def _check(library: Library, name: str, _: Any) -> str:
    library.check(name)
    return ""


def _render(library: Library, name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(library.render_each(name, rows))


def _line(library: Library, name: str, place: int) -> str:
    """Return the line of a template's body for a line of its compiled code."""
    return str(library.environment.get_template(f"{name}{SUFFIX}").get_corresponding_lineno(place))


WORK: dict[str, Callable[[Library, str, Any], str]] = {"check": _check, "render": _render, "line": _line}


if __name__ == "__main__":
    serve(int(sys.argv[1]))

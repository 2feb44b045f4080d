"""What Chroma's search graphs keep behind their elements is zeroed: memory that held something else before.

hnswlib asks for room for a hundred elements or more, and writes all of it to disk as it got it. In a process that has
talked to a large model that may be the bytes of a request, with its key.
"""

import struct
from pathlib import Path

HEADER = struct.Struct("<iQQQQ")
"""How hnswlib's header begins: version, offset of the first level, room for rows, rows there are, bytes of a row."""
LENGTH = 4


def scrub(folder: Path) -> None:
    """Zero what stands behind the last element of every search graph right below a folder; nothing reads it."""
    for header in folder.glob("*/header.bin"):
        found = header.read_bytes()
        if len(found) < HEADER.size:
            continue
        *_, count, row = HEADER.unpack_from(found)
        for name, size in (("length.bin", LENGTH), ("data_level0.bin", row)):
            _zero(header.with_name(name), count * size)


def _zero(path: Path, start: int) -> None:
    """Zero a file from a place on; a file that is not there, or ends before, stays as it is."""
    if not path.is_file() or path.stat().st_size <= start:
        return
    with path.open("r+b") as stream:
        stream.seek(start)
        rest = stream.read()
        if rest.strip(b"\0"):
            stream.seek(start)
            stream.write(bytes(len(rest)))

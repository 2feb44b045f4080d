"""The manifest of a pack, its first line: the sessions that its knowledge may come from, and a checksum."""

import codecs
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bundlewise.domain import SPLITS, Knowledge, KnownSession, Split
from bundlewise.errors import DataError, UsageError
from bundlewise.strictly import RepeatedKey, once
from bundlewise.text import line as one_line

SCHEMA = 3
"""Version 3 added the intents, the lesson and the original of a record; version 2 is still read."""
AGAIN = "fetch or export the pack again"

Items = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class PackManifest(BaseModel):
    """The fields that the first line must have; more are allowed."""

    model_config = ConfigDict(extra="allow")

    bundlewise_pack: Literal[2, 3]
    records: int = Field(ge=0)
    checksum: str = Field(pattern=r"^[0-9a-f]{64}$")
    sessions: dict[Split, dict[str, Items]]
    teachers: list[str]
    prompts: list[str]


def describe(records: Sequence[Knowledge], sessions: Sequence[KnownSession], about: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of records with an empty checksum and the caller's fields in `about`."""
    by_split = {s: {k.id: k.items for k in sorted(sessions, key=lambda k: k.id) if k.split == s} for s in SPLITS}
    said = {
        "bundlewise_pack": SCHEMA,
        "records": len(records),
        "checksum": "",
        "sessions": by_split,
        "teachers": sorted({record.provenance.teacher for record in records}),
        "prompts": sorted({record.provenance.prompt for record in records}),
    }
    if taken := said.keys() & about:
        raise ValueError(f"a manifest has a field {min(taken)} already; give yours another name")
    return said | about


def header(manifest: dict[str, Any], checksum: str) -> bytes:
    """Return the line of a manifest; its length does not depend on the checksum."""
    return (json.dumps(manifest | {"checksum": checksum}, ensure_ascii=False) + "\n").encode()


def canonical(value: Any) -> str:
    """Return JSON that is equal for equal values.

    Raises:
        ValueError: it holds numbers that JSON cannot express.
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def opening(manifest: dict[str, Any]) -> "hashlib._Hash":
    """Start the checksum of a pack with all fields of its manifest except the checksum."""
    return hashlib.sha256(canonical({k: v for k, v in manifest.items() if k != "checksum"}).encode())


def first_of(error: ValidationError) -> str:
    """Return pydantic's first complaint on one safe line."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "line"
    return one_line(f"{where[:60]}: {first['msg']}")[:200]


def first_line(stream: BinaryIO, limit: int) -> tuple[bytes, int]:
    """Return the first line that is not blank, without a byte order mark, and its number; an empty line at the end."""
    number = 0
    while line := stream.readline(limit):
        number += 1
        line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            return line, number
    return b"", number


def parse(path: Path, line: bytes) -> dict[str, Any]:
    """Read the first line of a pack.

    Raises:
        UsageError: it is a recording of a language model's rules and thoughts.
        DataError: it is not a manifest of this version.
    """
    if not line:
        raise DataError(f"{path}: empty; {AGAIN}")
    try:
        found = json.loads(line.decode(), object_pairs_hook=once)
    except RepeatedKey as error:
        raise DataError(f"{path}:1: the manifest is not portable JSON ({error}); {AGAIN}") from error
    except (ValueError, RecursionError):
        found = None
    if _is_recorded(found):
        remedy = f"bundlewise distil --teacher recorded:{path} --data SESSIONS --kb KB"
        raise UsageError(f"{path} is a recording of a language model, not a pack; distil it with sessions: {remedy}")
    version = found.get("bundlewise_pack") if isinstance(found, dict) else None
    if version is None:
        raise DataError(f"{path}:1: no manifest; give a file that bundlewise wrote as a pack")
    if version == 1:
        raise DataError(f"{path}:1: a pack of version 1, which does not say which sessions may teach; distil again")
    if isinstance(version, int) and version > SCHEMA:
        raise DataError(f"{path}:1: a pack of version {version}, newer than {SCHEMA}; update bundlewise")
    try:
        PackManifest.model_validate(found, strict=True)
        canonical(found).encode()
    except ValidationError as error:
        raise DataError(f"{path}:1: the manifest's {first_of(error)}; {AGAIN}") from error
    except ValueError as error:
        raise DataError(f"{path}:1: the manifest is not portable JSON ({error}); {AGAIN}") from error
    return dict(found)


def _is_recorded(row: Any) -> bool:
    """Say whether a row is a recorded rule or thought, which lacks the id and provenance of a record."""
    return isinstance(row, dict) and row.get("kind") in ("rule", "thought") and not {"id", "provenance"} <= row.keys()


def sessions_of(path: Path, manifest: dict[str, Any]) -> dict[str, KnownSession]:
    """Return the sessions of a manifest by id.

    Raises:
        DataError: a session is in two splits.
    """
    known: dict[str, KnownSession] = {}
    for split in SPLITS:
        for key, items in manifest["sessions"].get(split, {}).items():
            if key in known:
                where = f"in {known[key].split} and in {split}"
                raise DataError(f"{path}:1: the manifest has session {one_line(key)[:60]} {where}; {AGAIN}")
            known[key] = KnownSession(id=key, split=split, items=items)
    return known

"""Packs: knowledge as portable JSON lines, a manifest line first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bundlewise.domain import Knowledge
from bundlewise.errors import DataError
from bundlewise.files import fingerprint, read_rows, write_jsonl

SCHEMA = 1


def write_pack(path: Path, records: Sequence[Knowledge], about: dict[str, Any]) -> None:
    """Write records with a manifest: schema, count, checksum and what the caller says about the run."""
    rows = [record.model_dump(mode="json", exclude_defaults=True) for record in records]
    manifest = {"bundlewise_pack": SCHEMA, "records": len(rows), "checksum": fingerprint(rows), **about}
    write_jsonl(path, [manifest, *rows])


def read_pack(path: Path) -> list[Knowledge]:
    """Read a pack that `write_pack` wrote.

    Raises:
        DataError: the manifest is missing or of another version, a record is broken, or the checksum differs.
    """
    rows = read_rows(path)
    manifest = rows[0] if rows else {}
    if manifest.get("bundlewise_pack") != SCHEMA:
        raise DataError(f"{path}:1: no manifest of a version-{SCHEMA} pack; export the pack again")
    if manifest.get("checksum") != fingerprint(rows[1:]):
        raise DataError(f"{path}: the records do not fit the manifest's checksum; fetch the pack again")
    try:
        return [Knowledge.model_validate(row) for row in rows[1:]]
    except ValidationError as error:
        raise DataError(f"{path}: a record is not knowledge: {error.errors()[0]['msg']}; export it again") from error

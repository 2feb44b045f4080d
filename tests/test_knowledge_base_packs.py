"""Packs are read back equal, and not at all when they were changed."""

import json
from pathlib import Path

import pytest
from samples import record, session, thought

from bundlewise.errors import DataError
from bundlewise.files import fingerprint, write_jsonl
from bundlewise.knowledge_base.packs import read_pack, write_pack

RECORDS = [
    record("pattern", "a + b", ["s1", "s2"], kinds=("a", "b"), supporters=("s1",), support=1, confidence=0.5, lift=1.5),
    record("rule", "keep apart — é", ["s1"], gain=-0.01, status="quarantined", reason="held-out GJS -0.0100"),
    thought(session("s1", ["x", "y", "z"], ((0, 2),)), ["a", "b", "c"]),
]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    write_pack(tmp_path / "a.pack", RECORDS, {"teacher": "grounded"})
    return tmp_path / "a.pack"


def test_a_pack_is_read_back_equal(pack: Path) -> None:
    assert read_pack(pack) == RECORDS


def test_the_first_line_says_what_the_pack_holds(pack: Path) -> None:
    manifest = json.loads(pack.read_text().splitlines()[0])
    assert (manifest["bundlewise_pack"], manifest["records"], manifest["teacher"]) == (1, 3, "grounded")


def test_writing_again_gives_the_same_bytes(pack: Path, tmp_path: Path) -> None:
    write_pack(tmp_path / "b.pack", read_pack(pack), {"teacher": "grounded"})
    assert (tmp_path / "b.pack").read_bytes() == pack.read_bytes()


def test_an_empty_pack_is_a_pack(tmp_path: Path) -> None:
    write_pack(tmp_path / "a.pack", [], {})
    assert read_pack(tmp_path / "a.pack") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("a + b", "a + c"), ('"gain": -0.01', '"gain": 0.01'), ('"quarantined"', '"active"'), ('"x"', '"w"')],
)
def test_a_tampered_pack_is_refused(pack: Path, old: str, new: str) -> None:
    text = pack.read_text()
    assert old in text
    pack.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match="do not fit the manifest's checksum; fetch the pack again"):
        read_pack(pack)


@pytest.mark.parametrize("kept", [slice(0, -1), slice(1, None), slice(0, 0)], ids=["a line", "the manifest", "all"])
def test_a_pack_that_lost_lines_is_refused(pack: Path, kept: slice) -> None:
    lines = pack.read_text().splitlines(keepends=True)
    pack.write_text("".join(lines[kept]))
    with pytest.raises(DataError, match=r"checksum|no manifest"):
        read_pack(pack)


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.pack", [{"bundlewise_pack": 2, "checksum": fingerprint([])}])
    with pytest.raises(DataError, match="no manifest of a version-1 pack; export the pack again"):
        read_pack(tmp_path / "a.pack")


@pytest.mark.parametrize("change", [{"kind": "poem"}, {"price": 3}, {"text": None}])
def test_a_record_that_is_not_knowledge_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    rows = [RECORDS[0].model_dump(mode="json") | change]
    write_jsonl(tmp_path / "a.pack", [{"bundlewise_pack": 1, "checksum": fingerprint(rows)}, *rows])
    with pytest.raises(DataError, match=r"a record is not knowledge: .*; export it again"):
        read_pack(tmp_path / "a.pack")

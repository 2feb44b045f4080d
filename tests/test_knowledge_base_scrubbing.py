"""Nothing but knowledge stands in the files of a knowledge base: what a process had in memory before does not."""

from pathlib import Path

from samples import BagOfWords, record

from bundlewise.domain import KnownSession
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.index import HEADER, scrub
from bundlewise.knowledge_base.store import KnowledgeStore

KEY = b"sk-planted-in-memory"
KNOWN = [KnownSession(id="s1", split="train", items="0" * 16)]
RULES = [record("rule", f"rule {number} of cases and phones") for number in range(5)]


def tails(folder: Path) -> list[tuple[Path, int]]:
    """Return the files of search graphs with the place behind their last element."""
    found = []
    for header in folder.glob("index-*/*/header.bin"):
        *_, count, row = HEADER.unpack_from(header.read_bytes())
        found += [(header.with_name("length.bin"), 4 * count), (header.with_name("data_level0.bin"), row * count)]
    return [(path, start) for path, start in found if path.stat().st_size > start]


def poison(folder: Path) -> None:
    for path, start in tails(folder):
        with path.open("r+b") as stream:
            stream.seek(start)
            stream.write((KEY * 10_000)[: path.stat().st_size - start])


def test_what_stood_in_memory_is_not_in_the_files_of_a_knowledge_base(tmp_path: Path) -> None:
    store = KnowledgeStore.create(tmp_path / "kb", BagOfWords())
    store.change(Change("import", RULES[:3], sessions=KNOWN))
    assert tails(tmp_path / "kb")
    for path, start in tails(tmp_path / "kb"):
        assert not path.read_bytes()[start:].strip(b"\0"), path
    poison(tmp_path / "kb")
    store.change(Change("import", RULES[3:], sessions=KNOWN))
    assert not [path for path in (tmp_path / "kb").rglob("*") if path.is_file() and KEY in path.read_bytes()]


def test_a_scrubbed_search_graph_is_read_as_before(tmp_path: Path) -> None:
    KnowledgeStore.create(tmp_path / "kb", BagOfWords()).change(Change("import", RULES, sessions=KNOWN))
    before = {path: path.read_bytes() for path, _ in tails(tmp_path / "kb")}
    poison(tmp_path / "kb")
    (tmp_path / "kb" / "index-1" / "other").mkdir()
    (tmp_path / "kb" / "index-1" / "other" / "header.bin").write_bytes(b"short")
    scrub(tmp_path / "kb" / "index-1")
    assert {path: path.read_bytes() for path in before} == before
    vector = BagOfWords().embed([RULES[2].text])
    found = KnowledgeStore.open(tmp_path / "kb", BagOfWords()).index.nearest(vector, "rule", None, 5)
    assert len(found[0]) == 5 and found[0][0][0] in {rule.id for rule in RULES}

"""`bundlewise kb export`, `import`, `diff` and `report`: knowledge goes from machine to machine as it is."""

import json
from pathlib import Path

import pytest
from kb_samples import APART, PAIR, RECORDS, TOGETHER, Call, caller, fill, use_words
from samples import BagOfWords

from bundlewise.cli import main
from bundlewise.data.sessions import load, write_sessions
from bundlewise.files import read_rows
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.progress import Advance


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    use_words(monkeypatch)
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "kb")
    return caller(capsys)


def test_a_second_machine_has_the_same_records_vectors_and_packs(call: Call) -> None:
    assert call("export", "kb", "-o", "a.jsonl")[1] == "a.jsonl: 6 records, 3 known sessions\n"
    assert call("import", "other", "a.jsonl")[1] == "other: 6 records taken in, 0 left as they were\n"
    call("export", "other", "-o", "b.jsonl")
    assert Path("a.jsonl").read_bytes() == Path("b.jsonl").read_bytes()
    assert call("search", "other", "mouse", "--json") == call("search", "kb", "mouse", "--json")
    assert call("verify", "other")[0] == 0


def test_importing_twice_changes_nothing(call: Call) -> None:
    call("export", "kb", "-o", "a.jsonl")
    assert call("import", "kb", "a.jsonl")[1] == "kb: 0 records taken in, 6 left as they were\n"
    assert len(call("history", "kb", "--json")[1].splitlines()) == 1


def test_what_was_retired_travels_and_stays_retired_where_an_older_pack_comes_in(call: Call) -> None:
    call("export", "kb", "-o", "old.jsonl")
    call("retire", "kb", APART.id, "--reason", "bad advice")
    call("import", "kb", "old.jsonl")
    assert "retired" in call("show", "kb", APART.id)[1]
    call("export", "kb", "-o", "new.jsonl")
    call("import", "other", "new.jsonl")
    assert "reason: bad advice" in call("show", "other", APART.id)[1]


def broken_pack(call: Call) -> list[str]:
    """Write a pack whose third line is cut short; return its lines."""
    call("export", "kb", "-o", "whole.jsonl")
    rows = Path("whole.jsonl").read_text("utf-8").splitlines()
    rows[2] = rows[2][:40]
    Path("a.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    return rows


def test_a_pack_with_a_fault_is_refused_whole_and_no_knowledge_base_is_made(call: Call) -> None:
    broken_pack(call)
    code, out, err = call("import", "other", "a.jsonl")
    assert (code, out) == (1, "") and "a.jsonl:3: not JSON" in err
    assert not Path("other").exists()


def test_salvage_takes_the_good_lines_and_writes_the_others_beside_the_pack(call: Call) -> None:
    rows = broken_pack(call)
    code, out, err = call("import", "other", "a.jsonl", "--salvage")
    assert (code, out) == (0, "other: 5 records taken in, 0 left as they were\n")
    assert err == "1 fault, refused: in a.jsonl.refused.jsonl\n"
    (refused,) = read_rows(Path("a.jsonl.refused.jsonl"))
    assert refused.keys() == {"line", "reason", "text"}
    assert (refused["line"], refused["text"]) == (3, rows[2].rstrip())
    assert "not JSON" in refused["reason"]


def test_a_pack_without_a_good_line_makes_no_knowledge_base(call: Call) -> None:
    rows = broken_pack(call)
    Path("a.jsonl").write_text("\n".join([rows[0], *("{}" for _ in rows[1:])]) + "\n", "utf-8")
    code, _, err = call("import", "other", "a.jsonl", "--salvage")
    assert code == 1 and "no record of a.jsonl can be taken in" in err
    assert not Path("other").exists()


def test_an_import_stopped_by_ctrl_c_leaves_with_130_and_the_same_command_goes_on(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(BagOfWords):
        def embed(self, texts: list[str], advance: Advance | None = None) -> object:  # type: ignore[override]
            raise KeyboardInterrupt

    call("export", "kb", "-o", "a.jsonl")
    monkeypatch.setattr(Embedder, "named", staticmethod(lambda spec="minilm": Stopping()))
    code, out, err = call("import", "other", "a.jsonl")
    assert (code, out, err.strip()) == (130, "", "bundlewise: stopped; the same command goes on where it stopped")
    use_words(monkeypatch)
    assert call("import", "other", "a.jsonl")[0] == 0
    assert call("verify", "other") == (0, "sound: 6 records\n", "")


def test_diff_names_what_was_added_removed_and_changed_between_knowledge_bases_and_packs(call: Call) -> None:
    call("export", "kb", "-o", "a.jsonl")
    fill(Path("other"), [record for record in RECORDS if record != PAIR])
    call("retire", "other", APART.id, "--reason", "bad advice")
    code, out, err = call("diff", "a.jsonl", "other")
    assert (code, err) == (0, "0 added, 1 removed, 1 changed\n")
    assert out.splitlines() == [
        f"- {PAIR.id} (electronics) {PAIR.text}",
        f"~ {APART.id} (electronics, retired, untested) status: active -> retired; reason: -> bad advice",
    ]
    rows = [json.loads(row) for row in call("diff", "other", "a.jsonl", "--json")[1].splitlines()]
    assert [(row["change"], row["id"]) for row in rows] == [("added", PAIR.id), ("changed", APART.id)]
    assert rows[1]["fields"] == {"status": ["retired", "active"], "reason": ["bad advice", ""]}
    assert call("diff", "kb", "a.jsonl") == (0, "", "0 added, 0 removed, 0 changed\n")


def test_the_page_shows_records_of_every_status_those_without_a_vector_too(call: Call) -> None:
    call("retire", "kb", APART.id, "--reason", "bad advice")
    store = KnowledgeStore.open("kb", BagOfWords())
    store.index.drop([TOGETHER])
    assert call("report", "kb", "-o", "page.html") == (0, "page.html: 6 records\n", "")
    page = Path("page.html").read_text("utf-8")
    assert all(record.text in page for record in RECORDS) and "bad advice" in page
    first = Path("page.html").read_bytes()
    call("report", "kb", "-o", "page.html")
    assert Path("page.html").read_bytes() == first


def test_an_empty_knowledge_base_has_a_page_and_a_pack(call: Call) -> None:
    call("undo", "kb")
    assert call("report", "kb", "-o", "page.html")[0] == 0
    assert call("export", "kb", "-o", "a.jsonl")[1] == "a.jsonl: 0 records, 0 known sessions\n"
    assert call("import", "other", "a.jsonl")[1] == "other: 0 records taken in, 0 left as they were\n"
    assert call("search", "other", "mouse")[0] == 0


def test_distilled_knowledge_is_reproduced_on_a_second_machine_with_no_teacher(
    minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    call = caller(capsys)
    few = {split: [s for s in load("electronics", split) if len(s.items) <= 5] for split in ("train", "test")}
    write_sessions(tmp_path / "data.jsonl", [*few["train"][:25], *few["test"][:2]])
    with pytest.raises(SystemExit) as left:
        main(["distil", "--data", "data.jsonl", "--kb", "here/kb", "--embedder", str(minilm)])
    assert not left.value.code
    call("export", "here/kb", "-o", "a.jsonl")
    assert call("import", "there/kb", "a.jsonl", "--embedder", minilm)[0] == 0
    call("export", "there/kb", "-o", "b.jsonl")
    assert Path("a.jsonl").read_bytes() == Path("b.jsonl").read_bytes()
    asked = ["--items", "Padmoor Glide 11 Tablet", "Folio Case for Glide 11", "AA Batteries", "--json"]
    code, there, _ = call("explain", "there/kb", *asked)
    assert code == 0 and json.loads(there)["verdicts"]
    assert there == call("explain", "here/kb", *asked)[1]
    key = json.loads(there)["verdicts"][0]["record"]["id"]
    call("retire", "there/kb", key, "--reason", "a try")
    call("undo", "there/kb")
    call("export", "there/kb", "-o", "b.jsonl")
    assert Path("a.jsonl").read_bytes() == Path("b.jsonl").read_bytes()
    assert call("verify", "there/kb")[0] == 0

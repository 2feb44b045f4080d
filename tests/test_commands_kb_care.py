"""`bundlewise kb retire`, `merge`, `conflicts`, `history`, `undo`; `verify`, `reindex`, `recover`: care and repair."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from kb_samples import APART, RECORDS, TOGETHER, TWIN, Call, caller, fill, use_words
from samples import BagOfWords

from bundlewise.knowledge_base.database import FILE
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.progress import Advance


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    use_words(monkeypatch)
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "kb")
    return caller(capsys)


def exported(call: Call) -> bytes:
    call("export", "kb", "-o", "now.jsonl")
    return Path("now.jsonl").read_bytes()


def test_what_is_retired_is_not_found_any_more_and_undo_brings_it_back_to_the_byte(call: Call) -> None:
    before = exported(call)
    code, out, _ = call("retire", "kb", APART.id, "--reason", "bad advice")
    assert code == 0 and out.startswith(f"retired {APART.id} ")
    assert APART.id not in call("search", "kb", "keep apart", "--kind", "rule")[1]
    assert "reason: bad advice" in call("show", "kb", APART.id)[1]
    assert exported(call) != before
    assert call("undo", "kb")[1].startswith("taken back: retire: bad advice (1 record, ")
    assert APART.id in call("search", "kb", "keep apart", "--kind", "rule")[1]
    assert exported(call) == before


def test_retiring_twice_changes_nothing(call: Call) -> None:
    call("retire", "kb", APART.id, "--reason", "bad advice")
    before = exported(call)
    assert call("retire", "kb", APART.id, "--reason", "another reason") == (0, "", "1 retired already\n")
    assert exported(call) == before


def test_near_duplicates_are_only_listed_until_they_are_to_be_merged(call: Call) -> None:
    before = exported(call)
    code, out, err = call("merge", "kb")
    assert code == 0 and err == "1 group of near-duplicates; merge with --apply\n"
    assert [row.split()[0] for row in out.splitlines()] == [TOGETHER.id, TWIN.id]
    assert exported(call) == before
    assert call("merge", "kb", "--threshold", "1")[1:] == ("", "0 groups of near-duplicates\n")


def test_a_merge_lets_one_record_stand_for_all_and_undo_takes_it_back_to_the_byte(call: Call) -> None:
    before = exported(call)
    code, _, err = call("merge", "kb", "--apply")
    assert code == 0 and "merged 1 group" in err
    rules = [json.loads(row) for row in call("list", "kb", "--kind", "rule", "--json")[1].splitlines()]
    active = {rule["text"]: rule["source_session_ids"] for rule in rules if rule["status"] == "active"}
    assert active == {TOGETHER.text: ["desk"], APART.text: []}
    assert call("merge", "kb", "--apply")[0] == 2
    call("undo", "kb")
    assert exported(call) == before
    assert call("verify", "kb") == (0, f"sound: {len(RECORDS)} records\n", "")


def test_rules_that_contradict_each_other_are_listed_with_the_reason(call: Call) -> None:
    code, out, err = call("conflicts", "kb")
    assert code == 0 and err == "2 conflicts; bundlewise kb retire kb ID\n"
    assert "the first puts together, the second keeps apart" in out
    assert all(rule.id in out and rule.text in out for rule in (TOGETHER, TWIN, APART))
    assert call("conflicts", "kb", "--threshold", "1")[1:] == ("", "0 conflicts\n")


def test_history_tells_what_can_be_taken_back_the_latest_first(call: Call) -> None:
    call("retire", "kb", APART.id, "--reason", "bad advice")
    rows = [json.loads(row) for row in call("history", "kb", "--json")[1].splitlines()]
    assert [(row["what"], row["records"]) for row in rows] == [("retire: bad advice", 1), ("distil (grounded)", 6)]
    assert call("history", "kb", "--limit", "1")[1].splitlines()[1].endswith("retire: bad advice")


def test_what_was_done_is_taken_back_one_by_one_until_nothing_is_left(call: Call) -> None:
    call("retire", "kb", APART.id, "--reason", "bad advice")
    assert [call("undo", "kb")[0] for _ in range(2)] == [0, 0]
    code, _, err = call("undo", "kb")
    assert code == 2 and "nothing to undo in kb" in err
    assert call("history", "kb") == (0, "", "kb has no change that can be taken back\n")
    assert json.loads(call("stats", "kb", "--json")[1])["records"] == []


def test_a_fault_is_named_and_the_exit_code_is_1(call: Call) -> None:
    with sqlite3.connect(Path("kb") / FILE) as db:
        db.execute("UPDATE meta SET value = '\"0\"' WHERE key = 'digest'")
    assert call("verify", "kb") == (1, "the digest is not that of the records\n", "")
    said = json.loads(call("verify", "kb", "--json")[1])
    assert said == {"sound": False, "records": 6, "faults": ["the digest is not that of the records"]}


class Reversed(BagOfWords):
    """Another embedder of the same size."""

    fingerprint = "reversed"

    def __init__(self) -> None:
        super().__init__()
        self.name = "reversed"


def test_reindexing_changes_the_embedder_and_rolling_back_brings_the_old_vectors_back(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"minilm": BagOfWords, "bag-of-words": BagOfWords, "reversed": Reversed}
    monkeypatch.setattr(Embedder, "named", staticmethod(lambda spec="minilm": names[spec]()))
    code, out, _ = call("reindex", "kb", "--embedder", "reversed")
    assert (code, out) == (0, "kb: 6 records have vectors of reversed; take it back: --roll-back\n")
    said = json.loads(call("stats", "kb", "--json")[1])
    assert (said["embedder"], said["generation"]) == ("reversed", 2)
    assert call("verify", "kb")[0] == 0
    assert call("reindex", "kb", "--roll-back") == (0, "kb: returned to the vectors of bag-of-words\n", "")
    assert json.loads(call("stats", "kb", "--json")[1])["generation"] == 1
    assert call("verify", "kb")[0] == 0


def test_lost_vectors_are_named_with_the_remedy_and_the_remedy_works(call: Call) -> None:
    shutil.rmtree("kb/index-1")
    code, out, err = call("search", "kb", "mouse")
    assert (code, out) == (1, "") and "bundlewise kb reindex kb" in err
    assert call("verify", "kb")[0] == 1
    assert call("reindex", "kb")[0] == 0
    assert call("verify", "kb") == (0, "sound: 6 records\n", "")
    assert call("search", "kb", "mouse")[1]


@pytest.mark.parametrize(
    "harm", [lambda path: path.write_bytes(b"no database" * 1000), Path.unlink], ids=["damaged", "lost"]
)
def test_a_damaged_database_is_made_anew_from_the_vectors(call: Call, harm: object) -> None:
    before = exported(call)
    for side in Path("kb").glob(f"{FILE}-*"):
        side.unlink()
    harm(Path("kb") / FILE)  # type: ignore[operator]
    assert call("stats", "kb")[0] in (1, 2)
    assert call("recover", "kb")[1].startswith("kb: 6 records recovered; ")
    assert call("verify", "kb") == (0, "sound: 6 records\n", "")
    assert exported(call) == before


def test_after_a_reindexing_the_latest_vectors_are_recovered_from(call: Call) -> None:
    call("reindex", "kb")
    call("retire", "kb", APART.id, "--reason", "bad advice")
    before = exported(call)
    for path in Path("kb").glob(f"{FILE}*"):
        path.unlink()
    assert call("recover", "kb")[0] == 0
    assert exported(call) == before
    assert json.loads(call("stats", "kb", "--json")[1])["generation"] == 2


def test_reindexing_stopped_by_ctrl_c_leaves_with_130_and_the_same_command_goes_on(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(BagOfWords):
        fingerprint = "reversed"

        def embed(self, texts: list[str], advance: Advance | None = None) -> object:  # type: ignore[override]
            raise KeyboardInterrupt

    names = {"bag-of-words": BagOfWords, "reversed": Stopping}
    monkeypatch.setattr(Embedder, "named", staticmethod(lambda spec="minilm": names[spec]()))
    code, out, err = call("reindex", "kb", "--embedder", "reversed")
    assert (code, out, err.strip()) == (130, "", "bundlewise: stopped; the same command goes on where it stopped")
    assert call("search", "kb", "mouse")[0] == 0
    names["reversed"] = Reversed
    assert call("reindex", "kb", "--embedder", "reversed")[0] == 0
    assert call("verify", "kb") == (0, "sound: 6 records\n", "")

"""`bundlewise distil --teacher recorded:FILE`: the one way in for what a large language model wrote about sessions."""

import gzip
import io
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kb_samples import DESK, HELD, TRIP, Call, caller, fill, use_words
from samples import BagOfWords, session

from bundlewise.cli import main
from bundlewise.data.sessions import load, starter_names, starter_pack_path, write_sessions
from bundlewise.files import read_rows, write_jsonl
from bundlewise.knowledge_base.packs import read_pack
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline.distil import run_teacher as distil_into

RULE = {"kind": "rule", "domain": "electronics", "text": "A sleeve joins the bag it fits."}
THOUGHT = {
    "kind": "thought",
    "source_session": "trip",
    "item_kinds": ["laptop sleeve", "laptop bag"],
    "text": "Sleeve 1 goes into bag 2.",
    "lesson": "Nested protection belongs together.",
}
TEA = session("tea", ["Oat Milk", "Green Tea"], ((0, 1),), domain="grocery")
TEA_THOUGHT = {"kind": "thought", "source_session": "tea", "item_kinds": ["milk", "tea"], "text": "Tea 2 takes milk 1."}

Distil = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kb(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    use_words(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_sessions(Path("data.jsonl"), [DESK, TRIP, HELD])
    return caller(capsys)


@pytest.fixture
def distil(kb: Call, capsys: pytest.CaptureFixture[str]) -> Distil:
    def call(recording: str, *arguments: str, data: str = "data.jsonl") -> tuple[int, str, str]:
        teacher = ["--teacher", f"recorded:{recording}", "--formats", "rules,thoughts"]
        with pytest.raises(SystemExit) as left:
            main(["distil", "--data", data, *teacher, *(arguments or ("--kb", "kb"))])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def record_to(path: str, *rows: dict[str, Any]) -> str:
    write_jsonl(Path(path), rows)
    return path


def test_a_thought_brings_the_evidence_of_its_session_and_a_rule_its_words(distil: Distil) -> None:
    assert distil(record_to("gpt.jsonl", RULE, THOUGHT), "--kb", "kb", "--pack", "a.jsonl")[0] == 0
    rule, thought = read_pack(Path("a.jsonl")).records
    assert (rule.kind, rule.domain, rule.text, rule.source_session_ids) == ("rule", "electronics", RULE["text"], ())
    assert thought.text == "Nested protection belongs together. Sleeve goes into bag."
    assert (thought.original, thought.domain) == (f"{THOUGHT['lesson']} {THOUGHT['text']}", "electronics")
    assert (thought.kinds, thought.groups) == (("laptop sleeve", "laptop bag"), ((0, 1),))
    assert (thought.titles, thought.source_session_ids) == (tuple(TRIP.titles), ("trip",))
    assert {(each.provenance.teacher, each.provenance.prompt) for each in (rule, thought)} == {
        ("recorded:gpt", "import")
    }


@pytest.mark.parametrize("given", ["plain", "packed", "-"])
def test_a_recording_may_be_packed_or_piped_with_a_byte_order_mark_and_blank_lines(
    distil: Distil, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    raw = ("\ufeff\n" + json.dumps(RULE) + "\r\n\n" + json.dumps(THOUGHT) + "\n\n").encode()
    Path("gpt.jsonl").write_bytes(raw)
    Path("gpt.jsonl.gz").write_bytes(gzip.compress(raw))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    code, out, _ = distil({"plain": "gpt.jsonl", "packed": "gpt.jsonl.gz", "-": "-"}[given], "--kb", "kb", "--json")
    told = json.loads(out)
    assert (code, told["teacher"]) == (0, "recorded:-" if given == "-" else "recorded:gpt")
    assert {row["kind"]: row["records"] for row in told["records"]} == {"rule": 1, "thought": 1}


def test_a_dry_run_tells_what_would_come_and_writes_nothing(distil: Distil) -> None:
    record_to("gpt.jsonl", RULE, THOUGHT, RULE | {"text": "x" * 1201})
    before = sorted(Path().iterdir())
    code, out, err = distil("gpt.jsonl", "--kb", "kb", "--pack", "a.jsonl", "--dry-run")
    assert (code, out) == (0, "     1 rules\n     1 thoughts\n")
    assert "1 refused: the text has 1201 characters" in err and err.endswith("a dry run: nothing was written\n")
    assert distil("gpt.jsonl", "--dry-run")[:2] == (code, out), "no knowledge base need be named"
    assert sorted(Path().iterdir()) == before


def test_what_is_refused_is_left_out_and_told_with_its_reason(distil: Distil) -> None:
    foreign = THOUGHT | {"source_session": "desk", "item_kinds": ["a", "b", "c"], "text": "\x1b[2J Item 4."}
    record_to("gpt.jsonl", RULE | {"text": "x" * 1201}, RULE | {"domain": "food"}, foreign, THOUGHT)
    code, out, err = distil("gpt.jsonl")
    assert (code, out) == (0, "     1 thoughts\n")
    assert "     1 refused: the text has 1201 characters, more than 1200: xxx" in err
    assert (
        "refused: its domain food is not a domain of the sessions, electronics: A sleeve joins the bag it fits.\n"
        in err
    )
    assert "refused: it speaks of product 4 of 3: Nested protection belongs together. \\u001b[2J Item 4.\n" in err
    told = json.loads(distil("gpt.jsonl", "--kb", "kb", "--json")[1])
    whole = [each for each in told["refusals"] if each["what"] == "record"]
    assert told["refused"] == len(whole) == 3
    assert told["refusals"][0]["text"] == RULE["text"]


def test_of_many_reasons_the_first_are_told(distil: Distil) -> None:
    record_to("gpt.jsonl", THOUGHT, *(RULE | {"text": "x" * (1300 + n)} for n in range(30)))
    _, _, err = distil("gpt.jsonl")
    assert err.count(" refused: ") == 20 and "    30 refused in all; --json lists them\n" in err


def test_another_domain_is_added_to_what_is_there_and_can_be_taken_back(distil: Distil, kb: Call) -> None:
    fill(Path("kb"))
    kb("export", "kb", "-o", "before.jsonl")
    write_sessions(Path("tea.jsonl"), [TEA])
    assert distil(record_to("gpt.jsonl", TEA_THOUGHT), data="tea.jsonl")[0] == 0
    assert kb("diff", "before.jsonl", "kb")[2] == "1 added, 0 removed, 0 changed\n"
    assert kb("verify", "kb") == (0, "sound: 7 records\n", "")
    kb("undo", "kb")
    kb("export", "kb", "-o", "after.jsonl", "--force")
    assert Path("before.jsonl").read_bytes() == Path("after.jsonl").read_bytes()


def test_the_same_domain_is_replaced_and_what_was_retired_stays_retired(distil: Distil, kb: Call) -> None:
    distil(record_to("gpt.jsonl", RULE, THOUGHT))
    key = json.loads(kb("list", "kb", "--kind", "rule", "--json")[1])["id"]
    kb("retire", "kb", key, "--reason", "bad advice")
    kb("export", "kb", "-o", "before.jsonl")
    distil("gpt.jsonl")
    assert kb("diff", "before.jsonl", "kb")[2] == "0 added, 0 removed, 0 changed\n"
    distil(record_to("gpt.jsonl", RULE, THOUGHT | {"text": "Bag 2 holds sleeve 1."}))
    assert kb("diff", "before.jsonl", "kb")[2] == "1 added, 1 removed, 0 changed\n"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            THOUGHT | {"source_session": "held"},
            "the thought is about 'held' of the test split; only train sessions may teach",
        ),
        (THOUGHT | {"source_session": "x"}, "the thought is about 'x', which is not in the data; add that session"),
        ({"kind": "pattern"}, "kind must be rule or thought, got 'pattern'"),
    ],
)
def test_a_recording_with_a_wrong_line_is_refused_whole(distil: Distil, row: dict[str, Any], reason: str) -> None:
    code, out, err = distil(record_to("gpt.jsonl", RULE, row))
    assert (code, out) == (1, "") and f"gpt.jsonl:2: {reason}" in err
    assert not Path("kb").exists()


def test_a_session_that_the_knowledge_base_knows_as_a_test_session_teaches_nothing(distil: Distil, kb: Call) -> None:
    fill(Path("kb"))
    write_sessions(Path("data.jsonl"), [HELD.model_copy(update={"split": "train"})])
    code, _, err = distil(record_to("gpt.jsonl", THOUGHT | {"source_session": "held"}))
    assert code == 1 and "session held is train" in err
    assert kb("verify", "kb") == (0, "sound: 6 records\n", "")


@pytest.mark.parametrize("options", [(), ("--salvage",)])
def test_each_door_names_the_other(distil: Distil, kb: Call, options: tuple[str, ...]) -> None:
    code, out, err = kb("import", "kb", record_to("gpt.jsonl", RULE, THOUGHT), *options)
    assert (code, out) == (2, "") and "gpt.jsonl is a recording of a language model, not a pack" in err
    assert "bundlewise distil --teacher recorded:gpt.jsonl --data SESSIONS --kb KB" in err
    fill(Path("other"))
    kb("export", "other", "-o", "a.jsonl")
    code, _, err = distil("a.jsonl")
    assert code == 1 and "a.jsonl:1: this is a pack; import it with: bundlewise kb import KB a.jsonl" in err
    record_to("headless.jsonl", *read_rows(Path("a.jsonl"))[1:])
    assert (
        "headless.jsonl:1: this is a record of a pack without its manifest; export the pack again"
        in distil("headless.jsonl")[2]
    )
    assert "headless.jsonl:1: no manifest" in kb("import", "kb", "headless.jsonl", *options)[2]
    assert not Path("kb").exists()


@pytest.mark.parametrize("name", starter_names())
def test_a_starter_recording_is_taken_whole(tmp_path: Path, name: str) -> None:
    found = distil_into(load(name), f"recorded:{starter_pack_path(name)}", tmp_path / "kb", embedder=BagOfWords())
    taken = [record for record in found.records if record.kind != "pattern"]
    whole = [refusal for refusal in found.refused if refusal.what == "record"]
    assert len(taken) + len(whole) == len(read_rows(starter_pack_path(name)))
    assert len(whole) == (name == "clothing"), "one thought there speaks of nothing but a product that is not there"


def test_three_real_recordings_fit_into_one_knowledge_base_and_none_is_taken_twice(
    shared: Path, tmp_path: Path
) -> None:
    rows = Counter[str]()
    for name in ("electronic", "clothing", "food", "food"):
        path, sessions = shared / "packs" / f"{name}.jsonl", load(str(shared / "datasets" / f"{name}.jsonl"))
        found = distil_into(sessions, f"recorded:{path}", tmp_path / "kb", embedder=BagOfWords())
        rows |= {f"{name} {kind}": n for kind, n in Counter(row["kind"] for row in read_rows(path)).items()}
        # One rule in 145 gives a single session as its example.
        single = ["it speaks of a single session (session 30)"] if name == "electronic" else []
        assert [refusal.reason for refusal in found.refused if refusal.what == "record"] == single
    records = KnowledgeStore.open(tmp_path / "kb", BagOfWords()).records.select(status=None)
    held = Counter(f"{record.domain} {record.kind}" for record in records if record.kind != "pattern")
    assert held == rows - Counter(["electronic rule"])
    assert held.total() == 48 + 49 + 47 + 623 + 698 + 644

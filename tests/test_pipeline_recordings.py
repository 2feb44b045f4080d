"""A recording becomes knowledge only as far as the sessions it is about bear it out."""

import json
from pathlib import Path
from typing import Any

import pytest
from samples import BagOfWords, session

from bundlewise.agents.teacher.grounding import Refusal
from bundlewise.agents.teacher.sentences import sentences
from bundlewise.data.sessions import load, starter_names, starter_pack_path
from bundlewise.domain import Knowledge, KnownSession
from bundlewise.errors import DataError, UsageError
from bundlewise.files import read_rows
from bundlewise.knowledge_base.packs import read_pack, write_pack
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.knowledge_base.upkeep import take_in
from bundlewise.pipeline.recordings import form_of, read_recording

DESK = session("desk", ["Glide mouse", "Foam pad", "Oat milk"], ((0, 1),), domain="shop")
TRIP = session("trip", ["Sleeve", "Bag"], ((0, 1),), domain="shop")
BARE = session("bare", ["Sleeve", "Bag"], domain="shop")
HELD = session("held", ["Glide mouse", "Bag"], ((0, 1),), domain="shop", split="test")
SESSIONS = [DESK, TRIP, BARE, HELD]
RULE = {"kind": "rule", "domain": "shop", "text": "A pad joins a mouse.", "evidence": "about 9 bundles"}
THOUGHT = {
    "kind": "thought",
    "source_session": "desk",
    "item_kinds": ["mouse", "pad", "milk"],
    "text": "Mouse 1 and pad 2.",
    "lesson": "Milk stays out.",
}


def write(folder: Path, *rows: dict[str, Any] | str) -> Path:
    path = folder / "gpt.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def read(folder: Path, *rows: dict[str, Any] | str) -> tuple[tuple[Knowledge, ...], list[Refusal]]:
    pack, refused = read_recording(write(folder, *rows), SESSIONS)
    return pack.records, refused


def test_a_thought_brings_the_evidence_of_its_session_and_a_rule_its_words(tmp_path: Path) -> None:
    (rule, thought), refused = read(tmp_path, RULE, THOUGHT)
    assert (rule.kind, rule.domain, rule.text, rule.source_session_ids) == ("rule", "shop", RULE["text"], ())
    assert (thought.text, thought.domain) == ("Mouse 1 and pad 2. Milk stays out.", "shop")
    assert (thought.kinds, thought.groups) == (("mouse", "pad", "milk"), ((0, 1),))
    assert (thought.titles, thought.source_session_ids) == (tuple(DESK.titles), ("desk",))
    assert refused == []


def test_all_sessions_are_told_so_that_a_knowledge_base_can_guard_validation_and_test(tmp_path: Path) -> None:
    pack, _ = read_recording(write(tmp_path, RULE), SESSIONS)
    assert pack.sessions == tuple(KnownSession.of(each) for each in SESSIONS)


def test_the_provenance_names_the_recording_and_changes_with_its_content_and_its_sessions(tmp_path: Path) -> None:
    def run(rows: list[dict[str, Any]], sessions: list[Any]) -> str:
        pack, _ = read_recording(write(tmp_path, *rows), sessions)
        (source,) = {record.provenance for record in pack.records}
        assert (source.teacher, source.prompt) == ("recorded:gpt", "import")
        return source.run

    first = run([RULE, THOUGHT], SESSIONS)
    assert run([RULE, THOUGHT], SESSIONS) == first
    assert len({first, run([RULE], SESSIONS), run([RULE, THOUGHT], SESSIONS[:3])}) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": "x" * 1201, "lesson": ""}, "the text has 1201 characters, more than 1200"),
        ({"text": "Products 1 and 4 belong together."}, "it speaks of product 4 of 3"),
        ({"source_session": "bare", "item_kinds": ["sleeve", "bag"]}, "its source bare has no annotated bundles"),
    ],
)
def test_a_thought_that_its_session_does_not_bear_out_is_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    (rule,), (refused,) = read(tmp_path, THOUGHT | change, RULE)
    assert (rule.kind, refused.reason) == ("rule", reason)


def test_an_over_long_rule_is_refused(tmp_path: Path) -> None:
    _, (refused,) = read(tmp_path, THOUGHT, RULE | {"text": "x" * 1201})
    assert refused == Refusal("x" * 1201, "the text has 1201 characters, more than 1200")


def test_of_two_thoughts_about_one_session_the_later_one_stands(tmp_path: Path) -> None:
    (kept,), (refused,) = read(tmp_path, THOUGHT, THOUGHT | {"text": "Other words."})
    assert kept.text == "Other words. Milk stays out."
    assert refused == Refusal("Mouse 1 and pad 2.", "a later thought is about its source desk too")


def test_a_rule_of_a_domain_that_the_sessions_are_not_of_is_refused(tmp_path: Path) -> None:
    _, (refused,) = read(tmp_path, THOUGHT, RULE | {"domain": "food"})
    assert refused == Refusal("A pad joins a mouse.", "its domain food is not that of the sessions, shop")


@pytest.mark.parametrize(
    ("domains", "stated", "found"),
    [
        (("shop", "shop"), None, ["shop"]),
        (("shop", "food"), "food", ["food"]),
        (("shop", "food"), None, ["food", "shop"]),
        (("", ""), "shop", [""]),
    ],
)
def test_a_rule_is_of_the_domain_it_states_or_of_each_domain_of_the_sessions(
    tmp_path: Path, domains: tuple[str, str], stated: str | None, found: list[str]
) -> None:
    sessions = [each.model_copy(update={"domain": name}) for each, name in zip((DESK, TRIP), domains, strict=True)]
    pack, refused = read_recording(write(tmp_path, RULE | {"domain": stated}), sessions)
    assert ([record.domain for record in pack.records], refused) == (found, [])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"kind": "rule", "te', "not JSON"),
        (THOUGHT | {"source_session": "held"}, "thought about 'held' of the test split; only train may teach"),
        (THOUGHT | {"source_session": "x"}, "thought about 'x', which is not in the data; give the data it is about"),
        (RULE | {"kind": "pattern"}, "kind must be rule or thought, got 'pattern'"),
        (RULE | {"text": "\ud800"}, "not portable JSON"),
        (RULE | {"evidence": float("nan")}, "not portable JSON"),
        (RULE | {"id": "rule-1", "provenance": {}}, "a record of a pack without its manifest; export the pack again"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_read(tmp_path: Path, row: dict[str, Any] | str, message: str) -> None:
    with pytest.raises(DataError, match=r"gpt\.jsonl:2: ") as error:
        read(tmp_path, THOUGHT, row)
    assert message in str(error.value)


def test_an_empty_recording_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty"):
        read(tmp_path)


def test_sessions_of_which_none_may_teach_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no annotated training session"):
        read_recording(write(tmp_path, RULE), [BARE, HELD])


@pytest.mark.parametrize(
    ("line", "form"),
    [
        (json.dumps(RULE), "recording"),
        (json.dumps(THOUGHT), "recording"),
        ('{"records": 0, "bundlewise_pack": 2}', "pack"),
        (json.dumps(RULE | {"id": "rule-1", "provenance": {}}), "unknown"),
        ('{"session_id": "s"}', "unknown"),
        ("[]", "unknown"),
        ('{"kind": "ru', "unknown"),
        ("", "unknown"),
    ],
)
def test_the_first_line_tells_a_recording_from_a_pack(tmp_path: Path, line: str, form: str) -> None:
    assert form_of(write(tmp_path, line)) == form


def test_what_is_not_there_is_of_no_form(tmp_path: Path) -> None:
    assert form_of(tmp_path / "none.jsonl") == "unknown"


@pytest.mark.parametrize("name", starter_names())
def test_a_starter_recording_is_taken_whole_and_travels_as_a_pack(tmp_path: Path, name: str) -> None:
    pack, refused = read_recording(starter_pack_path(name), load(name))
    whole = [refusal for refusal in refused if refusal.what == "record"]
    rows = read_rows(starter_pack_path(name))
    assert len(pack.records) + len(whole) == len(rows)
    assert len(whole) <= 1
    said = sum(len(sentences(f"{row['text']} {row['lesson']}")) for row in rows if row["kind"] == "thought")
    assert sum(refusal.what == "sentence" for refusal in refused) < 0.06 * said
    write_pack(tmp_path / "pack.jsonl", pack.records, pack.sessions)
    assert set(read_pack(tmp_path / "pack.jsonl").records) == set(pack.records)


def test_three_real_recordings_fit_into_one_knowledge_base_and_none_is_taken_twice(
    shared: Path, tmp_path: Path
) -> None:
    store = KnowledgeStore.create(tmp_path / "kb", BagOfWords())
    for name in ("electronic", "clothing", "food"):
        path = shared / "packs" / f"{name}.jsonl"
        pack, refused = read_recording(path, load(str(shared / "datasets" / f"{name}.jsonl")))
        rows = read_rows(path)
        # One rule in 145 gives a single session as its example.
        kinds = sum(refusal.what == "kind" for refusal in refused)
        assert kinds < 0.02 * sum(len(row.get("item_kinds", ())) for row in rows)
        refused = [refusal for refusal in refused if refusal.what == "record"]
        single = [refusal.reason for refusal in refused]
        assert single == (["it speaks of a single session (session 30)"] if name == "electronic" else [])
        assert len(pack.records) + len(refused) == len(rows)
        assert take_in(store, pack, path.name) is not None
        assert take_in(store, pack, path.name) is None
        counts = {kind: sum(record.kind == kind for record in pack.records) for kind in ("rule", "thought")}
        told = {kind: sum(row["kind"] == kind for row in rows) for kind in ("rule", "thought")}
        assert counts == told | {"rule": told["rule"] - len(refused)}
    assert store.catalogue.counts().total() == 48 + 49 + 47 + 623 + 698 + 644

"""The sessions that tell most: where the rows differ, with what each answered and was given."""

import json
from pathlib import Path

import pytest
from experiment_samples import run_here, small

from bundlewise.data.sessions import read_sessions
from bundlewise.files import read_rows, write_jsonl


def test_sessions_stand_by_how_much_the_rows_differ_with_answers_and_knowledge(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    experiment = small(tmp_path, tiny_student, grid=[{"utilisation": "icl", "k": 1}])
    assert run_here(monkeypatch, tmp_path, experiment).failures == ()
    scored = {s.session_id: s for s in read_sessions(tmp_path / "electronics.jsonl") if s.split == "validation"}
    worst, part = list(scored)[2], list(scored)[1]
    # The rows of a random student hardly differ, so their kept answers are made to.
    for path in (tmp_path / "cache" / "predictions").glob("*.jsonl"):
        rows = read_rows(path)
        reads = any(row["knowledge"] for row in rows)
        for row in rows:
            truth = scored[row["session_id"]]
            bundles = [([place + 1 for place in group], "an intent") for group in truth.groups]
            if reads and truth.session_id == worst:
                bundles = []
            if reads and truth.session_id == part:
                bundles = [(numbers[:2] if len(numbers) > 2 else [1, 2, 3], "a part") for numbers, _ in bundles]
            row["bundles"] = [
                {"items": items, "item_ids": [truth.items[n - 1].id for n in items], "intent": intent}
                for items, intent in bundles
            ]
        write_jsonl(path, rows)

    found = run_here(monkeypatch, tmp_path, experiment).telling
    assert [telling.session_id for telling in found] == [worst, part]
    told = found[0]
    assert list(told.titles) == scored[worst].titles
    assert [answer.name for answer in told.answers] == ["plain student", "icl, k 1"]
    assert [answer.gjs for answer in told.answers] == [1.0, 0.0]
    assert [named.numbers for named in told.annotated] == [bundle.numbers for bundle in told.answers[0].bundles]
    assert told.answers[1].bundles == () and told.answers[0].knowledge == ()
    kinds = {given.kind for given in told.answers[1].knowledge}
    known = json.dumps([row["text"] for row in read_rows(tmp_path / "electronics-pack.jsonl")])
    assert "rule" in kinds and all(g.text[:40] in known for g in told.answers[1].knowledge if g.kind == "rule")
    page = (tmp_path / "run" / "results.json").read_text("utf-8")
    assert worst in page

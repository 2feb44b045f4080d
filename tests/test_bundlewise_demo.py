"""The demo: every row from sessions to report, in a folder of its own, read back the second time."""

import json
from pathlib import Path

import pytest

from bundlewise import demo as module
from bundlewise.demo import Demo, DemoConfig
from bundlewise.files import write_jsonl
from bundlewise.finetune.config import TrainingConfig
from bundlewise.report import terminal_table, verdicts, write_report

ROWS = [
    "whole session",
    "lexical clusters",
    "embedding clusters",
    "evidence (grounded)",
    "evidence (large LLM)",
    "plain student",
    "ICL (grounded)",
    "SFT",
    "ICL+SFT (grounded)",
    "ICL+SFT (large LLM)",
]


@pytest.fixture
def small(tiny_student: Path, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    """Return a demo on twelve training, three validation and three test sessions with a tiny random student."""
    found = Demo(
        DemoConfig(domain="grocery", limit=6, student=str(tiny_student), training=TrainingConfig(layers=0)),
        tmp_path / "run",
    )
    training = [s for s in found.sessions if s.split == "train"][:12]
    found.validation, found.test = found.validation[:3], found.test[:3]
    found.sessions = training + found.validation + found.test
    kinds = [
        {
            "kind": "thought",
            "source_session": s.session_id,
            "item_kinds": [i.category[-1] for i in s.items],
            "text": "So.",
        }
        for s in training
    ]
    write_jsonl(tmp_path / "pack.jsonl", [{"kind": "rule", "text": "Pairs are the norm."}, *kinds])
    monkeypatch.setattr(Demo, "_pack", tmp_path / "pack.jsonl")
    return found


@pytest.mark.slow
def test_the_demo_makes_every_row_and_reads_it_back_the_second_time(
    small: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    small.run()
    assert list(small.entries) == ROWS
    assert all(entry.row.summary.n == 3 for entry in small.entries.values())
    assert "finetune: SFT, 6 sessions" in capsys.readouterr().err
    first = {path.name: path.read_bytes() for path in small.folder.glob("*.jsonl")}
    again = Demo(small.config, small.folder)
    again.sessions, again.validation, again.test = small.sessions, small.validation, small.test
    again.run()
    assert "finetune:" not in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in small.folder.glob("*.jsonl")} == first
    assert terminal_table(again.entries) == terminal_table(small.entries)
    page = write_report(again, again.records()).read_text(encoding="utf-8")
    assert all(row in page for row in ROWS)
    assert all(session.session_id in page for session in again.test)
    for session in again.test:
        annotated = ", ".join(str(place + 1) for place in session.groups[0])
        assert f"Annotated: {annotated} <em>" in page
    assert "built-in" not in page and "None" not in page
    assert len(verdicts(again.entries)) == 8


def test_the_run_is_named_by_all_that_determines_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = DemoConfig().run_id
    assert DemoConfig().run_id == name
    assert len({name, DemoConfig(seed=1).run_id, DemoConfig(limit=1).run_id, DemoConfig(domain="grocery").run_id}) == 4
    monkeypatch.setattr(module, "code_fingerprint", lambda: "other code")
    assert DemoConfig().run_id != name


def test_the_largest_memory_of_all_starts_is_kept(small: Demo) -> None:
    small.folder.mkdir()
    (small.folder / "memory.json").write_text(json.dumps(99.0))
    assert small.peak_memory() == 99.0

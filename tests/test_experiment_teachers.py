"""The rows beside the cells: baselines that are always there, teachers from a file and from a live endpoint."""

import json
from pathlib import Path

import pytest
from experiment_samples import run_here, small
from teacher_server import TeacherServer

from bundlewise.agents.student.decoder import best_grouping, calibrate
from bundlewise.data.sessions import read_sessions
from bundlewise.experiment.cells import Cell
from bundlewise.experiment.grid import cells_of
from bundlewise.experiment.maker import Maker
from bundlewise.experiment.references import BASELINES, EVIDENCE
from bundlewise.experiment.rows import Row, row_of
from bundlewise.experiment.teachers import evidence_cells

pytestmark = pytest.mark.usefixtures("smollm2")


def predictions(folder: Path, wrong: bool = False) -> Path:
    """Write the annotated bundles of all validation sessions but the last as a teacher's."""
    path = folder / "teacher.jsonl"
    sessions = [s for s in read_sessions(folder / "electronics.jsonl") if s.split == "validation"][:-1]
    rows = [
        {"session_id": s.session_id, "bundles": [{"item_ids": list(b.item_ids)} for b in s.bundles]} for s in sessions
    ]
    if wrong:
        rows[0]["session_id"] = "nobody"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_teacher_from_a_file_counts_what_it_left_out_as_zero_and_gives_retention(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    small(tmp_path, tiny_student)
    teachers = [{"name": "large", "predictions": str(predictions(tmp_path)), "price": "gpt-4.1"}]
    experiment = small(tmp_path, tiny_student, teachers=teachers, machine={"dollars_per_hour": 0.05})
    results = run_here(monkeypatch, tmp_path, experiment)
    rows = {row.name: row for row in results.rows}
    teacher, student = rows["large"], rows["icl"]
    assert results.teacher == "large" and teacher.role == "teacher"
    assert teacher.by_session == (1.0, 1.0, 1.0, 0.0) and teacher.unanswered == 1
    assert student.retention is not None
    assert student.retention.value == pytest.approx(student.gjs.value / 0.75, abs=1e-3)
    assert student.cost.dollars is not None and teacher.cost.dollars
    assert student.cost_reduction == pytest.approx(1 - student.cost.dollars / teacher.cost.dollars, abs=1e-3)
    assert "teacher large" in results.hashes


def test_a_teacher_that_cannot_be_read_is_a_failure_of_its_row_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    small(tmp_path, tiny_student)
    teachers = [{"name": "large", "predictions": str(predictions(tmp_path, wrong=True))}]
    results = run_here(monkeypatch, tmp_path, small(tmp_path, tiny_student, teachers=teachers))
    assert [(failure.name, failure.seed) for failure in results.failures] == [("large", None)]
    assert "session 'nobody' is not among the 4 to score" in results.failures[0].reason
    assert results.teacher is None and len(results.rows) == 7


def test_evidence_alone_is_the_grouping_of_the_best_expected_score_without_a_student(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    experiment = small(tmp_path, tiny_student, grid=[{"teacher": ["recorded", "grounded"]}])
    results = run_here(monkeypatch, tmp_path, experiment)
    rows = {row.name: row for row in results.rows if row.name.startswith(EVIDENCE)}
    assert list(rows) == ["evidence alone, teacher recorded", "evidence alone, teacher grounded"]
    maker = Maker(experiment, tmp_path / "cache")
    validation = [s for s in read_sessions(tmp_path / "electronics.jsonl") if s.split == "validation"]
    for name, cell in evidence_cells(planned.cell for planned in cells_of(experiment)).items():
        matrix = maker.retriever(cell).evidence().matrix
        reading = calibrate([matrix(s.titles) for s in validation], [s.groups for s in validation])
        best = [best_grouping(reading.apply(matrix(s.titles))) for s in maker.inputs.scored]
        assert rows[name] == row_of(name, "baseline", [best], maker.inputs.scored, difference=rows[name].difference)
        assert rows[name].role == "baseline" and rows[name].cost.tokens_in is None


def test_evidence_comes_from_the_most_knowledge_of_each_teacher() -> None:
    ratios = [Cell(ratio=ratio, sampler="length") for ratio in (0.5, 1.0, 0.1)]
    assert evidence_cells(ratios) == {EVIDENCE: ratios[1]}
    assert evidence_cells([Cell(formats=()), Cell(utilisation="plain"), Cell(formats=("rules",))]) == {}


def test_evidence_that_cannot_be_read_is_a_failure_of_its_row_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    def broken(*_: object) -> Row:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("bundlewise.experiment.run.evidence_row", broken)
    results = run_here(monkeypatch, tmp_path, small(tmp_path, tiny_student))
    assert [(failure.name, failure.seed) for failure in results.failures] == [(EVIDENCE, None)]
    assert [row.name for row in results.rows] == ["plain student", "icl", *BASELINES]


def asked(results_rows: "tuple[Row, ...]") -> Row:
    return next(row for row in results_rows if row.role == "teacher")


def test_a_live_teacher_is_asked_once_and_its_cost_is_what_all_answers_took(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    server = TeacherServer()
    try:
        teachers = [{"name": "live", "endpoint": server.spec, "price": "gpt-4.1"}]
        experiment = small(tmp_path, tiny_student, teachers=teachers)
        first = run_here(monkeypatch, tmp_path, experiment)
        paid = sum(server.answered.values())
        row = asked(first.rows)
        assert first.failures == () and paid >= 4
        assert (row.cost.tokens_in, row.cost.tokens_out) == (100, 20)  # what the server bills for each session
        assert row.cost.dollars == pytest.approx(1000 * (100 * 2.0 + 20 * 8.0) / 1e6, rel=1e-3)

        # Another pace or cap asks nothing anew.
        paced = small(tmp_path, tiny_student, teachers=teachers, payment={"concurrency": 2, "max_cost": 9})
        again = run_here(monkeypatch, tmp_path, paced, "again")
        assert sum(server.answered.values()) == paid
        # Without the kept row, the ledger still holds the answers, and what they cost is the same.
        for path in (tmp_path / "cache" / "teachers").iterdir():
            path.unlink()
        ledger = run_here(monkeypatch, tmp_path, experiment, "ledger")
        # Only the probe, by which an endpoint is known, may be asked again.
        assert sum(server.answered.values()) <= paid + 1
        assert asked(again.rows) == asked(ledger.rows) == row
    finally:
        server.close()


def test_a_live_teacher_that_is_gone_is_a_failure_of_its_row_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    server = TeacherServer()
    server.close()
    experiment = small(
        tmp_path, tiny_student, teachers=[{"name": "live", "endpoint": server.spec}], payment={"patience": 0.1}
    )
    results = run_here(monkeypatch, tmp_path, experiment)
    assert [failure.name for failure in results.failures] == ["live"]
    assert len(results.rows) == 7

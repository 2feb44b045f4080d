"""The links of the chain: a stopped run goes on to the same file, and the file is whole or not there."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from samples import session as made

from bundlewise.agents.student.compose import JudgePrompt, judge_prompt
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.engine import Judgement, StudentEngine
from bundlewise.data.sessions import load
from bundlewise.domain import Retrieved, Session
from bundlewise.errors import UsageError
from bundlewise.finetune.students import StudentModel
from bundlewise.pipeline import predictions
from bundlewise.pipeline.student import Student

SESSIONS = [s for s in load("electronics", "test") if len(s.items) <= 4][:5]
BATCH = 2


@pytest.fixture(scope="module")
def engine(tiny_student: Path) -> StudentEngine:
    return StudentEngine.load(tiny_student)


def of(engine: StudentEngine, **dials: int) -> Student:
    return Student(StudentModel(engine, None, None, "tiny"), dials=AnswerDials(form="pairs", **dials))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "GENERATE_BATCH", BATCH)


class Counting(StudentEngine):
    """A student that counts the sessions it judges and stops before a batch."""

    def __init__(self, engine: StudentEngine, stop_before: int = 99) -> None:
        super().__init__(engine.model, engine.tokenizer)
        self.left, self.judged = stop_before, 0
        self.prompts: list[JudgePrompt] = []

    def judge(self, prompts: Sequence[JudgePrompt], progress: Callable[[int], None] | None = None) -> list[Judgement]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        self.judged += len(prompts)
        self.prompts += prompts
        return super().judge(prompts, progress)


@pytest.fixture(scope="module")
def whole(engine: StudentEngine, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the file of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole") / "p.jsonl"
    of(engine).answer_to_file(SESSIONS, output)
    return output.read_bytes()


@pytest.fixture
def stopped(engine: StudentEngine, tmp_path: Path) -> Path:
    """Return the output file of a run that was stopped after two batches."""
    output = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt):
        of(Counting(engine, stop_before=2)).answer_to_file(SESSIONS, output)
    return output


def test_predictions_stand_in_the_order_of_the_sessions(whole: bytes) -> None:
    assert [json.loads(row)["session_id"] for row in whole.splitlines()] == [session.session_id for session in SESSIONS]


def test_a_stopped_run_leaves_no_output(stopped: Path) -> None:
    assert not stopped.exists()


def test_a_stopped_run_goes_on_after_its_finished_batches_and_ends_with_the_same_file(
    stopped: Path, engine: StudentEngine, whole: bytes
) -> None:
    again = Counting(engine)
    of(again).answer_to_file(SESSIONS, stopped)
    assert again.judged == len(SESSIONS) - 2 * BATCH
    assert stopped.read_bytes() == whole
    assert not stopped.with_name(".p.jsonl.partial").exists()


def test_a_partial_file_of_another_key_is_dropped(stopped: Path, engine: StudentEngine) -> None:
    again = Counting(engine)
    of(again, repairs=2).answer_to_file(SESSIONS, stopped)
    assert again.judged == len(SESSIONS)


def test_a_partial_file_of_other_code_is_dropped(
    stopped: Path, engine: StudentEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundlewise.pipeline.student.code_fingerprint", lambda: "other code")
    again = Counting(engine)
    of(again).answer_to_file(SESSIONS, stopped)
    assert again.judged == len(SESSIONS)


@pytest.mark.parametrize("torn", [b"", b'{"session_id": "el', b'{"session_id": "\xc3'])
def test_a_batch_torn_by_a_kill_is_answered_again_whole(
    stopped: Path, engine: StudentEngine, whole: bytes, torn: bytes
) -> None:
    partial = stopped.with_name(".p.jsonl.partial")
    lines = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(b"".join(lines[: 1 + BATCH + 1]) + torn)
    again = Counting(engine)
    of(again).answer_to_file(SESSIONS, stopped)
    assert again.judged == len(SESSIONS) - BATCH
    assert stopped.read_bytes() == whole


def test_an_older_output_stays_whole_until_the_new_one_is_complete(engine: StudentEngine, tmp_path: Path) -> None:
    output = tmp_path / "p.jsonl"
    output.write_text("old\n")
    with pytest.raises(KeyboardInterrupt):
        of(Counting(engine, stop_before=1)).answer_to_file(SESSIONS, output)
    assert output.read_text() == "old\n"


def test_the_bar_hears_of_every_session_wherever_it_is_answered(
    engine: StudentEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    @contextmanager
    def bar(title: str, total: int) -> Iterator[Callable[..., None]]:
        assert (title, total) == ("generate", len(SESSIONS))
        yield steps.append

    monkeypatch.setattr(predictions, "progress", bar)
    of(engine).answer_to_file(SESSIONS, tmp_path / "here.jsonl")
    assert sum(steps) == len(SESSIONS)
    steps.clear()
    student = of(engine)
    student.answer_to_file(SESSIONS, tmp_path / "there.jsonl", spread=lambda batches, **_: map(student.answer, batches))
    assert steps == [BATCH, BATCH, 1]


def held(name: str, titles: Sequence[str]) -> Session:
    return made(name, titles, [(0, 1)], split="validation")


def test_sessions_that_cannot_be_read_are_left_out_of_a_calibration(engine: StudentEngine) -> None:
    short = [held(f"s{number}", ["Phone case", "Phone charger", "Lamp"]) for number in range(3)]
    many = held("many", [f"Product {number}" for number in range(31)])
    counting = Counting(engine)
    student, other = of(counting), of(engine)
    assert (student.fit([*short, many]), student.reading) == (other.fit(short), other.reading)
    assert counting.judged == 3
    with pytest.raises(UsageError, match="no annotated validation session has 2 to 30 products"):
        other.fit([many])


def test_a_prompt_longer_than_the_context_is_cut_in_a_calibration_as_in_serving(
    engine: StudentEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.model.config, "max_position_embeddings", 100)
    wordy = held("wordy", ["x" * 900, "y" * 900])
    assert not engine.fits(judge_prompt(wordy, Retrieved()))
    counting = Counting(engine)
    student = of(counting)
    score = student.fit([wordy])
    assert all(engine.fits(prompt) for prompt in counting.prompts) and len(counting.prompts) == 1
    assert student.reading.student > 0 and 0 <= score <= 1

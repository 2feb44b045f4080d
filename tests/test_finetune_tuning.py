"""A tuning run: what it reads, what its manifest records, and that an adapter is only used where it fits."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.reading import Reading
from bundlewise.agents.student.replies import fit_student, judge_known
from bundlewise.data.sessions import load
from bundlewise.domain import Bundle, Item, Knowledge, Provenance, Retrieved, Session
from bundlewise.errors import AdapterError, UsageError
from bundlewise.files import sha256_file
from bundlewise.finetune import adapters, tuning
from bundlewise.finetune.adapters import FILES, MANIFEST, check_fit, read_manifest
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.deadline import Deadline
from bundlewise.finetune.students import open_model
from bundlewise.finetune.tuning import Tuning
from bundlewise.models.cache import fingerprint_of
from bundlewise.prompts.render import student_fingerprints

CONFIG = TrainingConfig(layers=1, rank=2, intents=0.5)
SIZES = {"train": 4, "validation": 2, "test": 2}


class Hints:
    """A knowledge base that says the same of all pairs, and remembers whom it was asked about."""

    about: ClassVar[dict[str, Any]] = {"policy": {"hints": 3}, "teacher": "somebody"}

    def __init__(self) -> None:
        self.asked: list[str] = []

    def retrieve(self, sessions: Sequence[Session]) -> list[Retrieved]:
        self.asked += [session.session_id for session in sessions]
        return [Retrieved(hints={(0, 1): "often"}) for _ in sessions]


def small_sessions() -> list[Session]:
    known = [s for s in load("electronics") if len(s.items) <= 4]
    return [s for split, count in SIZES.items() for s in [s for s in known if s.split == split][:count]]


def run(folder: Path, student: Path, **changes: Any) -> adapters.Manifest:
    settings: dict[str, Any] = {"sessions": small_sessions(), "config": CONFIG, "student": str(student)} | changes
    return Tuning(folder=folder, **settings).run()


@pytest.fixture(scope="module")
def retriever() -> Hints:
    return Hints()


@pytest.fixture(scope="module")
def adapter(tiny_student: Path, retriever: Hints, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "adapter"
    run(folder, tiny_student, retriever=retriever)
    return folder


def test_the_manifest_records_all_that_the_adapter_depends_on(adapter: Path, tiny_student: Path) -> None:
    manifest = read_manifest(adapter)
    assert (manifest.base, manifest.base_fingerprint) == (str(tiny_student), fingerprint_of(tiny_student))
    assert manifest.prompts == student_fingerprints("pairs")
    assert (manifest.policy, manifest.teacher) == (Hints.about["policy"], Hints.about["teacher"])
    assert manifest.training == CONFIG.model_dump(mode="json")
    assert manifest.sessions == SIZES["train"]
    assert (manifest.mode, manifest.seed) == ("icl+sft", CONFIG.seed)
    assert manifest.files == {name: sha256_file(adapter / name) for name in FILES}
    assert manifest.reading != Reading() and manifest.reading.chooser is None
    assert [step for step, _ in manifest.validations][-1] == manifest.steps
    assert manifest.validation_gjs is not None and 0 <= manifest.validation_gjs <= 1


def lesson(source: str, kind: Any = "thought") -> Knowledge:
    told = Provenance(teacher="t", prompt="p", run="r")
    return Knowledge(
        id=f"{kind}-{source}", kind=kind, domain="", text="why", source_session_ids=(source,), provenance=told
    )


def test_lessons_are_part_of_what_determines_an_adapter_and_move_its_weights(
    adapter: Path, tiny_student: Path, tmp_path: Path
) -> None:
    taught = [lesson(session.session_id) for session in small_sessions() if session.split == "train"]
    manifest = run(tmp_path / "taught", tiny_student, retriever=Hints(), lessons=taught)
    assert manifest.lessons and not read_manifest(adapter).lessons
    assert manifest.files != read_manifest(adapter).files
    with pytest.raises(UsageError, match="another lessons"):
        run(tmp_path / "taught", tiny_student, retriever=Hints())


def test_thoughts_about_sessions_that_are_not_tuned_on_are_not_taught(tiny_student: Path, tmp_path: Path) -> None:
    lessons = [lesson("elsewhere"), lesson("elsewhere", "pattern")]
    tuned = Tuning(small_sessions(), tmp_path, CONFIG, str(tiny_student), lessons=lessons)
    assert [record.kind for record in tuned._taught(tuned._chosen())] == ["pattern"]


def test_a_finished_folder_holds_no_checkpoint(adapter: Path) -> None:
    names = {path.name for path in adapter.iterdir()}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert names == {*FILES, "loss.jsonl", "README.md", MANIFEST, *tokenizer}


def test_knowledge_is_retrieved_for_training_and_validation_sessions_only(adapter: Path, retriever: Hints) -> None:
    assert sorted(retriever.asked) == sorted(s.session_id for s in small_sessions() if s.split != "test")


def test_a_finished_adapter_is_returned_at_once(
    adapter: Path, tiny_student: Path, retriever: Hints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "load_causal_lm", None)
    assert run(adapter, tiny_student, retriever=retriever) == read_manifest(adapter)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config": TrainingConfig(layers=1, rank=3)}, "training"),
        ({"limit": 2}, "data"),
        ({"retriever": None}, "mode"),
    ],
)
def test_a_folder_with_another_adapter_is_refused_by_what_differs(
    adapter: Path, tiny_student: Path, retriever: Hints, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=rf"another {named} .*; choose another folder or remove it"):
        run(adapter, tiny_student, **{"retriever": retriever} | changes)


def poisoned(session: Session) -> Session:
    """Return a session that no tokenizer or metric could read."""
    return session.model_copy(update={"items": None, "bundles": ({"item_ids": ("nowhere", "nothing")},)})


def test_test_sessions_are_never_read(adapter: Path, tiny_student: Path, tmp_path: Path) -> None:
    sessions = [poisoned(s) if s.split == "test" else s for s in small_sessions()]
    with_poison = run(tmp_path / "a", tiny_student, sessions=sessions, retriever=Hints())
    clean = read_manifest(adapter)
    assert with_poison.model_dump(exclude={"seconds"}) == clean.model_dump(exclude={"seconds"})


def together(session: Session) -> Session:
    return session.model_copy(update={"bundles": (Bundle(item_ids=tuple(i.id for i in session.items), intent="x"),)})


def test_validation_sessions_do_not_change_the_weights(adapter: Path, tiny_student: Path, tmp_path: Path) -> None:
    sessions = [together(s) if s.split == "validation" else s for s in small_sessions()]
    run(tmp_path / "a", tiny_student, sessions=sessions, retriever=Hints())
    name = "adapter_model.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (adapter / name).read_bytes()


def test_only_validation_sessions_calibrate(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Session] = []
    fit = fit_student

    def spy(engine: StudentEngine, sessions: Sequence[Session], *others: Any) -> Any:
        seen.extend(sessions)
        return fit(engine, sessions, *others)

    monkeypatch.setattr(tuning, "fit_student", spy)
    run(tmp_path / "a", tiny_student, limit=1, config=CONFIG.model_copy(update={"evaluations": 1}))
    assert [s.session_id for s in seen] == [s.session_id for s in small_sessions() if s.split == "validation"]


def test_without_validation_sessions_the_log_odds_are_read_as_they_are(tiny_student: Path, tmp_path: Path) -> None:
    manifest = run(tmp_path / "a", tiny_student, sessions=[s for s in small_sessions() if s.split == "train"])
    assert manifest.validation_gjs is None
    assert manifest.reading == Reading()


def giant(split: str) -> Session:
    items = tuple(Item(id=str(n), title=f"Thing {n}") for n in range(31))
    fields = {"session_id": f"giant {split}", "split": split, "items": items}
    return Session.model_validate(fields | {"bundles": (Bundle(item_ids=("1", "2")),)})


def test_sessions_too_long_for_the_student_are_left_out_of_training_and_calibration(
    tiny_student: Path, tmp_path: Path
) -> None:
    sessions = [*small_sessions(), giant("train"), giant("validation")]
    assert run(tmp_path / "a", tiny_student, sessions=sessions, limit=4).sessions == SIZES["train"]


@pytest.mark.parametrize("left", ["validation", "none annotated"])
def test_data_without_annotated_training_sessions_is_refused(tiny_student: Path, tmp_path: Path, left: str) -> None:
    sessions = [s for s in small_sessions() if s.split == "validation"]
    if left == "none annotated":
        sessions = [s.blind() for s in small_sessions()]
    with pytest.raises(UsageError, match="no annotated training session; give data"):
        run(tmp_path / "a", tiny_student, sessions=sessions)


def test_an_adapter_fits_the_base_it_was_trained_on(adapter: Path, tiny_student: Path) -> None:
    assert check_fit(adapter, tiny_student) == read_manifest(adapter)


def test_another_base_is_refused_and_the_right_one_named(adapter: Path, tiny_student: Path, tmp_path: Path) -> None:
    for path in tiny_student.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(AdapterError, match=rf"belongs to base {tiny_student} .*give --student {tiny_student}"):
        check_fit(adapter, tmp_path)


def test_changed_prompts_are_refused_by_name_with_the_remedy(
    adapter: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = student_fingerprints("pairs") | {"pair": "changed"}
    monkeypatch.setattr(adapters, "student_fingerprints", lambda form: changed)
    with pytest.raises(AdapterError, match=r"on other prompts \(pair\); tune it again or restore the templates"):
        check_fit(adapter, tiny_student)


@pytest.mark.parametrize(
    ("part", "named"), [("tokenizer", "tokenizer"), ("chat_template", "chat template"), ("base_fingerprint", "base")]
)
def test_what_differs_about_the_base_is_named(adapter: Path, tiny_student: Path, part: str, named: str) -> None:
    content = read_manifest(adapter).model_copy(update={part: "of-another"})
    (other := adapter.parent / part).mkdir()
    adapters.write_manifest(other, content)
    with pytest.raises(AdapterError, match=rf"with {named} of-another, .*give --student {tiny_student}"):
        check_fit(other, tiny_student)


def test_an_adapter_whose_weights_were_exchanged_or_lost_is_refused(
    adapter: Path, tiny_student: Path, tmp_path: Path
) -> None:
    (tmp_path / MANIFEST).write_bytes((adapter / MANIFEST).read_bytes())
    with pytest.raises(AdapterError, match="is missing; copy the whole folder"):
        check_fit(tmp_path, tiny_student)
    for name in FILES:
        (tmp_path / name).write_bytes((adapter / name).read_bytes() + b"\0")
    with pytest.raises(AdapterError, match=r"is not the file that was trained .* copy it again"):
        check_fit(tmp_path, tiny_student)


def ends_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time of trainings be over after so many steps, or never again with 0."""
    told = iter(range(1, 10**6))
    done = [0]

    def note(loss: float, score: float | None) -> str:
        done[0] = next(told)
        return ""

    monkeypatch.setattr(tuning, "_note", note)
    monkeypatch.setattr(Deadline, "left", property(lambda _: -1.0 if steps and done[0] >= steps else 1e6))


def test_a_training_out_of_minutes_leaves_a_usable_adapter_and_goes_on_with_more(
    adapter: Path, tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config = tmp_path / "a", CONFIG.model_copy(update={"epochs": 3, "evaluations": 1})
    ends_after(1, monkeypatch)
    short = run(folder, tiny_student, config=config, max_minutes=1e-9)
    assert (short.steps, short.stopped) == (1, "1e-09 minutes are over")
    assert (short.reading, short.validation_gjs) == (Reading(), None), "there was no time to validate"
    assert check_fit(folder, tiny_student) == short
    ends_after(0, monkeypatch)
    assert run(folder, tiny_student, config=config, max_minutes=1e-9) == short
    whole = run(folder, tiny_student, config=config)
    assert (whole.steps > 1, whole.stopped) == (True, "")
    unstopped = run(tmp_path / "b", tiny_student, config=config)
    assert unstopped.model_dump(exclude={"seconds"}) == whole.model_dump(exclude={"seconds"})


def test_a_training_without_time_for_a_step_leaves_nothing(tiny_student: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="1e-09 minutes are over before the first step; give more with --max-min"):
        run(tmp_path / "a", tiny_student, max_minutes=1e-9)
    assert not (tmp_path / "a").exists()


def test_time_that_ends_after_a_validation_keeps_its_reading_without_another(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.model_copy(update={"epochs": 4, "evaluations": 4})
    asked: list[Session] = []
    fit = fit_student

    def counted(engine: StudentEngine, sessions: Sequence[Session], *others: Any) -> Any:
        asked.extend(sessions)
        return fit(engine, sessions, *others)

    monkeypatch.setattr(tuning, "fit_student", counted)
    ends_after(3, monkeypatch)
    short = run(tmp_path / "a", tiny_student, config=config, max_minutes=1)
    assert short.steps == 3 and short.validation_gjs == max(score for _, score in short.validations)
    assert len(asked) == SIZES["validation"] * len(short.validations)


def test_a_training_stopped_by_its_validations_is_finished(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.model_copy(update={"epochs": 6, "evaluations": 6, "patience": 1})
    scores = iter((0.6, 0.5))
    monkeypatch.setattr(tuning, "fit_student", lambda *_: (Reading(), next(scores, 0.6)))
    manifest = run(tmp_path / "a", tiny_student, config=config)
    assert manifest.stopped == "no better validation in 1 evaluations"
    assert not (tmp_path / "a" / "training.pt").exists()
    monkeypatch.setattr(tuning, "load_causal_lm", None)
    assert run(tmp_path / "a", tiny_student, config=config) == manifest


def test_a_folder_without_a_finished_adapter_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"no finished adapter in {tmp_path}; make one: bundlewise finetune"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"{", b'{"base": 1}', b"\xff"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(AdapterError, match="is damaged, or of an older version; tune the adapter again"):
        read_manifest(tmp_path)


def test_a_run_stopped_while_it_calibrates_does_not_train_again(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    config = CONFIG.model_copy(update={"evaluations": 1})
    with monkeypatch.context() as patch:
        patch.setattr(tuning, "fit_student", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "a", tiny_student, config=config)
    assert not (tmp_path / "a" / MANIFEST).exists()
    monkeypatch.setattr("bundlewise.finetune.training.Training._step", None)
    assert run(tmp_path / "a", tiny_student, config=config).validation_gjs is not None


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}, {"four_bit": True}])
def test_a_gpu_tunes_and_the_adapter_answers_there(tiny_student: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    manifest = run(tmp_path / "a", tiny_student, config=CONFIG.model_copy(update=changes), retriever=Hints())
    assert manifest.steps and manifest.validation_gjs is not None
    student = open_model(str(tiny_student), tmp_path / "a", manifest)
    assert isinstance(student.engine, StudentEngine) and student.engine.model.device.type == "cuda"
    asked = small_sessions()[-2:]
    judged = judge_known(student.engine, asked, Hints().retrieve(asked))
    assert len(judged) == len(asked)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_all_files_of_an_adapter_follow_the_umask(tiny_student: Path, tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        run(tmp_path / "a", tiny_student)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()}
    assert set(modes.values()) == {0o666 & ~mask} and "adapter_model.safetensors" in modes

"""The live student: the student graph's answers, pair probabilities, and reasons that change what they say."""

import threading
from pathlib import Path

import numpy as np
import pytest
from samples import BagOfWords, record, session, thought

from bundlewise.agents.student.limits import Limits
from bundlewise.agents.student.reading import Reading, cohesion
from bundlewise.data.sessions import write_sessions
from bundlewise.domain import KnownSession, Prediction, Session
from bundlewise.errors import UsageError
from bundlewise.graphs.student import StudentState, build_student_graph
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline.calibration import CalibratedReading
from bundlewise.pipeline.student import Student

TITLES = ["glide mouse", "foam pad", "wool rug"]
GROUPS = [((0, 1),)] * 5 + [((1, 2),)]
KNOWN = [session(f"s{n}", [f"{t} {'abcdef'[n] * 3}" for t in TITLES], group) for n, group in enumerate(GROUPS)]
NEW = session("new", ["red mouse", "blue pad", "green rug", "oak mouse"], split="test")


@pytest.fixture(scope="module")
def plain(tiny_student: Path) -> Student:
    return Student.open(student=str(tiny_student))


@pytest.fixture(scope="module")
def knowing(plain: Student, tmp_path_factory: pytest.TempPathFactory) -> Student:
    store = KnowledgeStore(tmp_path_factory.mktemp("kb"), BagOfWords())
    records = [record("rule", "put together a mouse and a pad", ["s0"])]
    records += [thought(s, ["mouse", "pad", "rug"]) for s in KNOWN]
    store.replace(records, [KnownSession.of(s) for s in KNOWN])
    reading = Reading(student=0.1, evidence=1.0)
    return Student(plain.model, Retriever(store, Policy(rules=2, hints=30, min_score=-1)), reading)


def test_bundles_are_the_student_graph_s(knowing: Student) -> None:
    expected = build_student_graph().invoke(StudentState([NEW.blind()]), context=knowing.context())["predictions"]
    assert [p.bundles for p in knowing.answer([NEW])] == [p.bundles for p in expected] != [()]


def test_a_calibrated_student_is_read_as_validation_says_and_the_next_start_remembers(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path / "cache"))
    held = [session(f"v{n}", ["red mouse", "blue pad", "rug"], ((0, 1),), split="validation") for n in range(2)]
    many = session("many", [f"{n} mouse" for n in range(31)], ((0, 1),), split="validation")
    write_sessions(tmp_path / "d.jsonl", [*KNOWN, *held, many])
    told: list[str] = []
    found = Student.open(student=str(tiny_student), calibrate=str(tmp_path / "d.jsonl"), note=told.append)
    fresh, silent = Student.open(student=str(tiny_student)), Student.open(student=str(tiny_student))
    score = fresh.fit([*KNOWN, *held])
    assert found.reading == fresh.reading != Student.open(student=str(tiny_student)).reading
    assert told == [f"calibrated on 2 validation sessions, GJS there {score:.3f}"]
    silent.calibrate([*KNOWN, *held, many])
    assert silent.reading == found.reading
    asked: list[object] = []
    calibration = CalibratedReading(reading=fresh.reading, score=score)
    monkeypatch.setattr(Student, "_fitted", lambda *given: asked.append(given) or calibration)
    again = Student.open(student=str(tiny_student), calibrate=str(tmp_path / "d.jsonl"), note=told.append)
    assert again.reading == fresh.reading and told[0] == told[1] and asked == []
    (kept,) = (tmp_path / "cache").glob("reading-*.json")
    kept.write_text("{}")
    Student.open(student=str(tiny_student), calibrate=str(tmp_path / "d.jsonl"))
    write_sessions(tmp_path / "d.jsonl", [*KNOWN, *held[:1]])
    Student.open(student=str(tiny_student), calibrate=str(tmp_path / "d.jsonl"))
    assert len(asked) == 2
    monkeypatch.setattr("bundlewise.pipeline.calibration.code_fingerprint", lambda: "other code")
    Student.open(student=str(tiny_student), calibrate=str(tmp_path / "d.jsonl"))
    assert len(asked) == 3
    write_sessions(tmp_path / "d.jsonl", KNOWN)
    with pytest.raises(UsageError, match=r"no validation session of .*d\.jsonl is annotated; leave out --calibrate"):
        Student.open(student=str(tiny_student), calibrate=str(tmp_path / "d.jsonl"))


def test_limits_hold_for_the_session_that_they_name(knowing: Student) -> None:
    other = NEW.model_copy(update={"session_id": "other"})
    limited, free = knowing.answer([NEW, other], {"new": Limits(most=2, bundles=1)})
    assert [len(b.items) for b in limited.bundles] == [2]
    assert free.bundles == knowing.answer([other])[0].bundles


def test_limits_that_nothing_keeps_to_are_a_failure_and_no_guess(knowing: Student) -> None:
    (found,) = knowing.answer([NEW], {"new": Limits(total=5)})
    assert (found.outcome, found.bundles) == ("failed", ())


def test_pairs_are_probabilities_as_the_reading_sees_them(knowing: Student) -> None:
    found, other = knowing.pairs([NEW, KNOWN[0]])
    assert found.shape == (4, 4) and other.shape == (3, 3)
    assert (found >= 0).all() and (found <= 1).all() and (found == found.T).all() and (np.diag(found) == 0).all()
    assert found[0, 1] > 0.5 > found[0, 2]
    assert cohesion(found, [0, 1, 3]) == pytest.approx((found[0, 1] + found[0, 3] + found[1, 3]) / 3)


def test_a_reason_says_by_how_much_its_record_carries_the_bundle(knowing: Student) -> None:
    (reasons,) = knowing.explain(NEW, ((0, 1),))
    assert {reason.kind for reason in reasons} == {"rule", "thought"}
    assert [abs(r.effect) for r in reasons] == sorted((abs(r.effect) for r in reasons), reverse=True)
    first = next(r for r in reasons if r.kind == "thought")
    assert knowing.retriever is not None
    given = knowing.retriever.retrieve([NEW])[0]
    less = knowing.retriever.leaving_out(NEW, given, first.id)
    assert less.affinity != given.affinity and first.id not in {r.id for r, _ in less.evidence}
    before, after = knowing._probabilities([NEW, NEW], [given, less])
    assert first.effect == pytest.approx(before[0, 1] - after[0, 1], abs=1e-3) != 0


def test_every_bundle_has_its_own_reasons_and_a_plain_student_has_none(knowing: Student, plain: Student) -> None:
    both = knowing.explain(NEW, ((0, 1), (2, 3)))
    assert both[0] == knowing.explain(NEW, ((0, 1),))[0] != both[1]
    assert plain.explain(NEW, ((0, 1), (2, 3))) == [[], []] and knowing.explain(NEW, ()) == []


def test_many_threads_get_the_answers_of_one(knowing: Student) -> None:
    expected = [p.bundles for p in knowing.answer([NEW, *KNOWN])]
    found: list[list[object]] = []
    workers = [
        threading.Thread(target=lambda: found.append([p.bundles for p in knowing.answer([NEW, *KNOWN])]))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 4


def test_about_tells_one_student_from_another(knowing: Student, plain: Student) -> None:
    assert plain.about["knowledge"] is None and knowing.about["knowledge"]
    assert plain.about["student"] == knowing.about["student"] and plain.about["prompts"]["templates"]


def test_a_mode_that_the_parts_do_not_make_is_refused(tiny_student: Path) -> None:
    with pytest.raises(UsageError, match="add --kb"):
        Student.open(student=str(tiny_student), mode="icl")


def test_one_session_is_bundled_from_titles_products_or_a_session(knowing: Student) -> None:
    first, *others = knowing.bundle(NEW.titles)
    (predicted,) = knowing.answer([Session.of(NEW.titles)])
    assert [first.intent, first.confidence] == [predicted.bundles[0].intent, predicted.bundles[0].confidence]
    assert first.titles == [NEW.titles[number - 1] for number in predicted.bundles[0].items]
    assert len(others) == len(predicted.bundles) - 1
    assert str(first) == f"{first.intent} ({first.confidence:.0%}): {', '.join(first.titles)}"
    products = [item.model_copy(update={"price": 5.0}) for item in NEW.items]
    assert [bundle.titles for bundle in knowing.bundle(products)] == [bundle.titles for bundle in knowing.bundle(NEW)]
    assert {item.price for bundle in knowing.bundle(products) for item in bundle.items} == {5.0}


def test_a_session_without_bundles_is_an_empty_list(plain: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    none = Prediction(session_id="given", bundles=(), outcome="failed", reason="no two products go together")
    monkeypatch.setattr(plain, "answer", lambda sessions: [none])
    assert plain.bundle(NEW.titles) == []


UNREADABLE = [(["mouse"], "has 1 products"), (["mouse", " "], "title 2: title is empty")]


@pytest.mark.parametrize(("titles", "said"), UNREADABLE)
def test_what_the_student_cannot_read_is_refused(plain: Student, titles: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plain.bundle(titles)


def test_a_session_too_long_for_the_student_is_refused(plain: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain.model.engine.model.config, "max_position_embeddings", 4)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="the prompt is longer than the student can read"):
        plain.bundle(NEW.titles)

"""The teacher graph: only training sessions are read, every record is grounded, the same input gives the same bytes."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from samples import BagOfWords, session

from bundlewise.agents.teacher.grounded import GroundedTeacher
from bundlewise.agents.teacher.protocol import Rule, Thought
from bundlewise.domain import Grouping, Session
from bundlewise.errors import DataError, UsageError
from bundlewise.graphs.teacher import build_teacher_graph
from bundlewise.graphs.teacher_state import Dials, TeacherContext, TeacherState
from bundlewise.knowledge_base.packs import read_pack
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.prompts.render import fingerprint

TITLES = ["Glide Mouse", "Foam Pad", "Wool Rug", "Red Wool Rug"]
BOTH: Grouping = ((0, 1), (2, 3))
RUGS: Grouping = ((2, 3),)
# Half of the sessions bundle mouse and pad: a rule that is drawn from these harms the others.
TRAIN = [session(f"d{n}", TITLES, BOTH if n % 2 == 0 else RUGS, domain="electronics") for n in range(20)]


def run(sessions: list[Session], teacher: Any = None, **context: Any) -> TeacherState:
    given = TeacherContext(teacher=teacher or GroundedTeacher(), **context)
    return TeacherState(**build_teacher_graph().invoke(TeacherState(sessions), context=given))


@pytest.fixture(scope="module")
def found() -> TeacherState:
    return run(TRAIN)


def test_a_planted_pattern_is_found_with_exact_numbers(found: TeacherState) -> None:
    (pattern,) = (record for record in found.records if record.kind == "pattern")
    assert pattern.text == "mouse + pad: bundled in 10 of 20 sessions that hold them"
    assert (pattern.support, pattern.confidence) == (10, 0.5)
    # Of 30 bundles 10 hold a mouse, 10 a pad, 10 both: (10/30) / (10/30 * 10/30).
    assert pattern.lift == 3.0
    assert set(pattern.supporters) == {s.session_id for s in TRAIN[0::2]}


def test_every_record_is_grounded_in_training_sessions_with_its_provenance(found: TeacherState) -> None:
    assert Counter(record.kind for record in found.records) == {"pattern": 1, "rule": 2, "thought": 20}
    for record in found.records:
        assert set(record.source_session_ids) <= {s.session_id for s in TRAIN}
        assert record.source_session_ids
        assert record.domain == "electronics"
        assert record.provenance.teacher == "grounded"
        assert record.provenance.prompt == fingerprint(record.kind)
        assert record.id == record.content_id(record.kind, record.domain, record.text, record.source_session_ids)
        if record.kind != "thought":
            assert record.support is not None
            assert record.confidence is not None
    assert found.refused == []


def test_a_rule_that_harms_the_other_half_is_quarantined(found: TeacherState) -> None:
    (rule,) = (record for record in found.records if record.status == "quarantined")
    assert rule.text == "Put together a mouse and a pad: 10 of 10 such pairs are bundled"
    assert set(rule.source_session_ids) == {s.session_id for s in TRAIN[0::2]}
    assert (rule.gain, rule.reason) == (-0.5, "held-out GJS -0.5000, 0.5000 lost by the sessions it harms")


def test_validation_and_test_sessions_are_not_even_looked_at(found: TeacherState) -> None:
    poison = [
        Session.model_construct(session_id=split, domain="x", split=split, items=None, bundles=(None,))
        for split in ("validation", "test")
    ]
    assert run([poison[0], *TRAIN, poison[1]]).records == found.records


def test_sessions_without_annotation_do_not_teach(found: TeacherState) -> None:
    assert run([*TRAIN, session("bare", TITLES)]).records == found.records


@pytest.mark.parametrize("sessions", [[], [session("a", TITLES)], [session("a", TITLES, BOTH, split="test")]])
def test_nothing_to_learn_from_is_a_usage_error(sessions: list[Session]) -> None:
    with pytest.raises(UsageError, match="no annotated training session to learn from; give data"):
        run(sessions)


@pytest.mark.parametrize(("ratio", "count"), [(0.25, 5), (0.01, 1), (1.0, 20)])
def test_a_share_of_the_sessions_is_chosen_by_seed(ratio: float, count: int) -> None:
    first, again, other = (
        [s.session_id for s in run(TRAIN, dials=Dials(ratio=ratio, seed=seed)).sessions] for seed in (1, 1, 2)
    )
    assert len(first) == count
    assert first == again
    assert (first != other) == (ratio < 1)


class Talkative(GroundedTeacher):
    """A teacher that says some things nobody can check."""

    name = "talkative"

    def formalise(self, *_: Any) -> list[Rule]:
        return [Rule("from elsewhere", ("d0", "v9")), Rule("general", ()), Rule(" ", ("d0",))]

    def think(self, session: Session, kinds: tuple[str, ...], *_: Any) -> Thought | None:
        texts = {"d0": "Product 5 of 4.", "d1": "Product 4 of 4."}
        return Thought(texts[session.session_id], kinds) if session.session_id in texts else None


def test_what_is_not_grounded_is_refused_and_counted(tmp_path: Path) -> None:
    found = run(TRAIN, Talkative(), pack=tmp_path / "a.pack")
    assert Counter(refusal.reason for refusal in found.refused) == {
        "its source v9 is not among the sessions read": 1,
        "the text is empty": 1,
        "it speaks of product 5 of 4": 1,
    }
    assert [record.text for record in found.records if record.kind != "pattern"] == ["general", found.records[-1].text]
    assert read_pack(tmp_path / "a.pack").records == tuple(sorted(found.records, key=lambda record: record.id))


def test_store_and_pack_hold_the_records_and_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    store = KnowledgeStore(tmp_path / "kb", BagOfWords())
    packs = [tmp_path / "a.pack", tmp_path / "b.pack"]
    for pack in packs:
        found = run(TRAIN, store=store, pack=pack)
    assert packs[0].read_bytes() == packs[1].read_bytes()
    assert read_pack(packs[0]).records == tuple(sorted(found.records, key=lambda record: record.id))
    assert store.records.counts().total() == len(found.records)
    active = [record for record in found.records if record.status == "active"]
    assert list(store.records.select()) == sorted(active, key=lambda record: record.id)
    assert store.records.known([s.session_id for s in TRAIN]).keys() == {s.session_id for s in TRAIN}


def test_a_tampered_pack_is_refused(tmp_path: Path) -> None:
    run(TRAIN, pack=tmp_path / "a.pack")
    text = (tmp_path / "a.pack").read_text()
    (tmp_path / "a.pack").write_text(text.replace('"quarantined"', '"active"'))
    with pytest.raises(DataError, match="changed since it was written: its check does not fit"):
        read_pack(tmp_path / "a.pack")


def test_a_thought_names_the_kinds_of_its_own_products_only(found: TeacherState) -> None:
    sessions = {s.session_id: s for s in TRAIN}
    thoughts = [record for record in found.records if record.kind == "thought"]
    for thought in thoughts:
        (source,) = thought.source_session_ids
        assert list(thought.titles) == sessions[source].titles
        assert thought.groups == sessions[source].groups
        assert thought.kinds == ("mouse", "pad", "rug", "rug")
        assert thought.text.startswith("The products are mouse, pad, rug, rug.")

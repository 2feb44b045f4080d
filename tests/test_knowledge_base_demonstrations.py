"""Solved sessions as knowledge: in their own quota, within the budget, never the session itself or held-out ones."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import BagOfWords, record, session, thought

from bundlewise.agents.student.compose import judge_prompt, write_prompt
from bundlewise.domain import Knowledge, KnownSession, Retrieved, Session
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Explanation, Retriever
from bundlewise.knowledge_base.store import KnowledgeStore

NAMES = ["Red", "Blue", "Green", "Pink", "Grey", "Black"]
SESSIONS = [
    session(f"s{n}", [f"{name} Mouse", f"{name} Pad", f"{name} Rug"], ((0, 1),)) for n, name in enumerate(NAMES)
]
HELD = [
    session(f"h{n}", ["Teal Mouse", "Teal Pad"], ((0, 1),), split=split)
    for n, split in enumerate(["validation", "test"])
]
NEW = session("new", ["Red Mouse", "Blue Pad", "Blue Rug"], split="test")
KINDS = ["mouse", "pad", "rug"]
RULES = [record("rule", f"Put a mouse and a pad together, case {n}", [f"s{n}"]) for n in range(4)]
PATTERNS = [
    record("pattern", f"mouse + {kind}: bundled in 2 of 2 sessions", ["s0", "s1"], kinds=("mouse", kind), support=2,
           supporters=("s0", "s1"), confidence=1.0, lift=2.0)
    for kind in ("pad", "rug")
]  # fmt: skip
KNOWN = [KnownSession.of(each) for each in SESSIONS]
SHOWN = {"kinds": ("mouse", "pad"), "titles": ("Old Mouse", "Old Pad"), "groups": ((0, 1),)}
BAD = [
    record("thought", "No intents.", ["s9"], **SHOWN),
    record("thought", "An empty intent.", ["s9"], **SHOWN, intents=("",)),
    record("thought", "No bundles.", ["s9"], **SHOWN | {"groups": ()}),
    record("thought", "No titles.", ["s9"]),
]
INTENTLESS = "it has no intents, which a demonstration shows; distil again"
EMPTY = "it has no titles and bundles, which a demonstration shows"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeStore:
    found = KnowledgeStore(tmp_path_factory.mktemp("kb"), BagOfWords())
    told = [thought(each, KINDS) for each in SESSIONS] + [thought(each, KINDS[:2]) for each in HELD]
    found.replace([*RULES, *PATTERNS, *told, *BAD], KNOWN)
    # Behind the store's back, which refuses such sources.
    found.database.change(Change("moved", sessions=[KnownSession.of(each) for each in HELD]))
    return found


def retriever(store: KnowledgeStore, **dials: float | None) -> Retriever:
    nothing = {"patterns": 0, "rules": 0, "thoughts": 0, "demonstrations": 0, "hints": 0, "min_score": -1.0}
    return Retriever(store, Policy.of(**nothing | dials), lambda text: len(text.split()))


def found_for(store: KnowledgeStore, given: Session = NEW, **dials: float | None) -> Retrieved:
    return retriever(store, **dials).retrieve([given.blind()])[0]


def explained(store: KnowledgeStore, given: Session = NEW, **dials: float | None) -> Explanation:
    return retriever(store, **dials).explain([given.blind()])[0]


def sources(records: tuple[tuple[Knowledge, float], ...]) -> set[str]:
    return {name for each, _ in records for name in (*each.source_session_ids, *each.supporters)}


@pytest.mark.parametrize("count", [0, 1, 3, 99])
def test_demonstrations_have_a_quota_of_their_own_the_nearest_first(store: KnowledgeStore, count: int) -> None:
    found = found_for(store, rules=2, patterns=1, thoughts=2, demonstrations=count)
    assert len(found.demonstrations) == min(count, len(SESSIONS))
    assert [score for _, score in found.demonstrations] == sorted((s for _, s in found.demonstrations), reverse=True)
    kinds = [each.kind for each, _ in found.records]
    assert (kinds.count("rule"), kinds.count("pattern"), kinds.count("thought")) == (2, 1, 2)


def test_the_same_thought_may_be_a_lesson_and_a_demonstration(store: KnowledgeStore) -> None:
    found = found_for(store, thoughts=2, demonstrations=2)
    assert {each.id for each, _ in found.records} == {each.id for each, _ in found.demonstrations}
    assert len(found.uses) == 4


@pytest.mark.parametrize("budget", [0, 10, 25, 40, 80, 10_000])
def test_one_budget_holds_for_texts_and_demonstrations_together(store: KnowledgeStore, budget: int) -> None:
    found = found_for(store, rules=3, patterns=1, thoughts=2, demonstrations=3, budget=budget)
    plain, told = write_prompt(NEW, Retrieved()).user, write_prompt(NEW, found).user
    assert len(told.split()) - len(plain.split()) <= budget
    assert bool(found.records or found.demonstrations) is (budget >= 25) or 0 < budget < 25
    over = [v for v in explained(store, rules=3, patterns=1, thoughts=2, demonstrations=3, budget=budget).verdicts
            if "the budget is" in v.why]  # fmt: skip
    assert bool(over) is (budget < 10_000) and not any(v.kept for v in over)


@pytest.mark.parametrize(("bad", "why"), [*zip(BAD, [INTENTLESS, INTENTLESS, EMPTY, EMPTY], strict=True)])
def test_a_thought_without_a_solved_session_is_refused_as_a_demonstration(
    store: KnowledgeStore, bad: Knowledge, why: str
) -> None:
    found = [v for v in explained(store, thoughts=99, demonstrations=99).verdicts if v.record.id == bad.id]
    assert [v.kept for v in found] == [True, False]
    assert found[1].why == why
    assert bad.id not in {each.id for each, _ in found_for(store, demonstrations=99).demonstrations}


def test_nothing_of_validation_or_test_is_demonstrated(store: KnowledgeStore) -> None:
    asked = session("new", ["Teal Mouse", "Teal Pad"], split="test")
    found = found_for(store, session("x", ["Teal Mouse", "Teal Pad", "Teal Rug"]), demonstrations=99, thoughts=99)
    assert found.demonstrations and not sources((*found.records, *found.demonstrations)) & {"h0", "h1"}
    told = [
        v.why for v in explained(store, asked, demonstrations=99).verdicts if v.record.source_session_ids[0] == "h0"
    ]
    assert told == ["it comes from h0, outside train"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, len(SESSIONS) - 1),
    order=st.permutations(range(3)),
    name=st.sampled_from(["", "upload"]),
    quotas=st.fixed_dictionaries(
        {key: st.integers(0, 9) for key in ("thoughts", "rules", "patterns", "demonstrations")}
    ),
    search=st.sampled_from(["dense", "lexical", "hybrid"]),
    diversity=st.sampled_from([0.0, 0.5]),
)
def test_a_session_is_never_shown_what_it_taught_under_any_name_or_order(
    store: KnowledgeStore,
    place: int,
    order: list[int],
    name: str,
    quotas: dict[str, int],
    search: str,
    diversity: float,
) -> None:
    own = SESSIONS[place]
    asked = own.model_copy(update={"session_id": name or own.session_id, "items": tuple(own.items[n] for n in order)})
    found = found_for(store, asked, search=search, diversity=diversity, **quotas)  # type: ignore[arg-type]
    assert own.session_id not in sources((*found.records, *found.demonstrations))
    assert f"{NAMES[place]} Mouse" not in write_prompt(asked, found).user.rpartition("Products:")[0]
    assert len(found.demonstrations) == min(quotas["demonstrations"], len(SESSIONS) - 1) or search == "lexical"


@pytest.mark.parametrize("budget", range(0, 40, 3))
def test_the_budget_holds_in_the_prompts_of_both_forms(store: KnowledgeStore, budget: int) -> None:
    found = found_for(store, rules=3, patterns=1, budget=budget)
    plain, told = judge_prompt(NEW, Retrieved()).head, judge_prompt(NEW, found).head
    assert len(told.split()) - len(plain.split()) <= budget
    plain, told = write_prompt(NEW, Retrieved()).user, write_prompt(NEW, found).user
    assert len(told.split()) - len(plain.split()) <= budget


def test_a_policy_of_zeros_shows_the_plain_prompt(store: KnowledgeStore) -> None:
    assert retriever(store).policy.is_plain
    assert write_prompt(NEW, found_for(store)) == write_prompt(NEW, Retrieved())


def test_left_out_of_the_knowledge_is_left_out_of_both_its_forms(store: KnowledgeStore) -> None:
    asking = retriever(store, thoughts=2, demonstrations=2)
    found = asking.retrieve([NEW.blind()])[0]
    gone = found.demonstrations[0][0].id
    less = asking.leaving_out(NEW.blind(), found, gone)
    assert gone not in {each.id for each, _ in (*less.records, *less.demonstrations)}
    assert len(less.records) + len(less.demonstrations) == len(found.records) + len(found.demonstrations) - 2

"""Controlled top-k: quotas, no own knowledge, stable ties, nothing read but titles."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from samples import BagOfWords, record, session, thought

from bundlewise.agents.student.compose import judge_prompt, unreadable, write_prompt
from bundlewise.domain import KNOWLEDGE_KINDS, Bundle, Item, Knowledge, KnowledgeKind, KnownSession, Retrieved, Session
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Explanation, Retriever, without
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.prompts.render import render

TITLES = ["glide mouse", "foam pad", "wool rug"]
SESSIONS = [session(f"s{n}", [f"{t} {'abcdefghijkl'[n] * 3}" for t in TITLES], ((0, 1),)) for n in range(6)]
NEW = session("new", ["red mouse", "blue pad", "green rug"], split="test")


def pattern(kinds: tuple[str, ...], holders: list[str], supporters: list[str]) -> Knowledge:
    text = f"{' + '.join(kinds)}: bundled in {len(supporters)} of {len(holders)} sessions that hold them"
    numbers = {"support": len(supporters), "confidence": round(len(supporters) / len(holders), 4), "lift": 2.0}
    return record("pattern", text, holders, kinds=kinds, supporters=tuple(supporters), **numbers)


KNOWN = [KnownSession.of(s) for s in SESSIONS]
RECORDS = [
    pattern(("mouse", "pad"), ["s0", "s1", "s2", "s3"], ["s0", "s1", "s2"]),
    pattern(("pad", "rug"), ["s0", "s1"], ["s0", "s1"]),
    record("rule", "put together a mouse and a pad", ["s0", "s2", "s4"]),
    record("rule", "keep a rug apart", ["s1", "s3", "s5"]),
    *(thought(s, ["mouse", "pad", "rug"]) for s in SESSIONS),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeStore:
    found = KnowledgeStore(tmp_path_factory.mktemp("kb"), BagOfWords())
    found.replace(RECORDS, KNOWN)
    return found


def found_for(store: KnowledgeStore, given: Session, **quota: float) -> Retrieved:
    policy = Policy.of(**{"patterns": 9, "rules": 9, "thoughts": 9, "hints": 30, "min_score": -1.0} | quota)
    return Retriever(store, policy).retrieve([given])[0]


def texts(found: Retrieved, kind: KnowledgeKind) -> list[str]:
    return [record.text for record, _ in found.records if record.kind == kind]


def renamed(given: Session) -> Session:
    """Return the session under another id, its products in another order."""
    return given.model_copy(update={"session_id": "upload", "items": given.items[::-1]})


@pytest.mark.parametrize("own", [*SESSIONS, *map(renamed, SESSIONS)], ids=lambda s: s.session_id)
def test_a_session_never_meets_what_it_taught_by_id_or_by_equal_titles(store: KnowledgeStore, own: Session) -> None:
    source = next(s.session_id for s in SESSIONS if sorted(s.titles) == sorted(own.titles))
    found = found_for(store, own)
    shown = [record for record, _ in (*found.records, *found.evidence)]
    assert shown
    assert all(source not in {*record.source_session_ids, *record.supporters} for record in shown)
    assert f"About {source}." not in texts(found, "thought")
    assert len(texts(found, "thought")) == 5


def test_a_pattern_is_counted_anew_without_the_session(store: KnowledgeStore) -> None:
    (counted,) = (record for record, _ in found_for(store, SESSIONS[1]).records if record.kind == "pattern")
    assert counted.text == "mouse + pad: bundled in 2 of 3 sessions that hold them"
    assert (counted.support, counted.confidence, counted.lift) == (2, 0.6667, None)
    assert (counted.source_session_ids, counted.supporters) == (("s0", "s2", "s3"), ("s0", "s2"))
    assert "mouse + pad: bundled in 3 of 4 sessions that hold them" in texts(found_for(store, NEW), "pattern")


def test_a_pattern_that_a_holder_does_not_bundle_gets_more_confident_without_it() -> None:
    counted = without(RECORDS[0], frozenset({"s3"}))
    assert counted is not None
    assert (counted.text, counted.confidence) == ("mouse + pad: bundled in 3 of 3 sessions that hold them", 1.0)


@pytest.mark.parametrize(
    ("number", "own", "left"),
    [(0, "new", True), (1, "s0", False), (2, "s0", False), (2, "s1", True), (4, "s0", False), (4, "s1", True)],
)
def test_what_is_left_of_a_record_without_a_session(number: int, own: str, left: bool) -> None:
    found = without(RECORDS[number], frozenset({own}))
    assert found == (RECORDS[number] if left else None)


@pytest.mark.parametrize("quota", [0, 1, 3])
@pytest.mark.parametrize("kind", ["pattern", "rule", "thought"])
def test_no_kind_exceeds_its_quota(store: KnowledgeStore, kind: KnowledgeKind, quota: int) -> None:
    found = found_for(store, NEW, **{f"{kind}s": quota})
    there = sum(record.kind == kind for record in RECORDS)
    assert len(texts(found, kind)) == min(quota, there)


def test_scores_below_the_floor_are_left_out_and_the_best_stand_first(store: KnowledgeStore) -> None:
    scores = [score for record, score in found_for(store, NEW).records if record.kind == "rule"]
    assert scores == sorted(scores, reverse=True)
    floor = sum(scores) / 2
    kept = [score for _, score in found_for(store, NEW, min_score=floor).records]
    assert min(scores) < floor
    assert min(kept) >= floor


def test_ties_go_to_the_smaller_id(tmp_path: Path) -> None:
    same = [record("thought", f"About {n}.", [f"t{n}"], kinds=("mouse", "pad")) for n in range(8)]
    for order in (same, same[::-1]):
        store = KnowledgeStore(tmp_path / order[0].id, BagOfWords())
        store.replace(order)
        found = found_for(store, NEW, thoughts=3, hints=0)
        assert [record.id for record, _ in found.records] == sorted(record.id for record in same)[:3]


@given(order=st.permutations(range(3)))
@settings(max_examples=6, deadline=None)
def test_the_order_of_products_permutes_the_hints_and_leaves_the_records(
    store: KnowledgeStore, order: list[int]
) -> None:
    moved = NEW.model_copy(update={"items": tuple(NEW.items[place] for place in order)})
    before, after = found_for(store, NEW), found_for(store, moved)
    assert after.records == before.records
    assert len(before.hints) == 3
    for (a, b), word in after.hints.items():
        assert word == before.hints[min(order[a], order[b]), max(order[a], order[b])]


@given(
    category=st.tuples(st.text(max_size=5)),
    price=st.none() | st.floats(0, 99),
    bundled=st.booleans(),
    split=st.sampled_from(["train", "validation", "test"]),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_category_price_annotation_and_split_are_never_read(
    store: KnowledgeStore, category: tuple[str], price: float | None, bundled: bool, split: str
) -> None:
    items = tuple(Item(id=f"i{n}", title=t, category=category, price=price) for n, t in enumerate(NEW.titles))
    bundles = (Bundle(item_ids=("i0", "i2"), intent="mouse pad rug"),) if bundled else ()
    told = Session(session_id="new", split=split, items=items, bundles=bundles, domain="electronics")
    assert found_for(store, told) == found_for(store, NEW)


def test_a_batch_is_retrieved_as_one_by_one(store: KnowledgeStore) -> None:
    retriever, batch = Retriever(store, Policy.of(thoughts=2)), [NEW, *SESSIONS[:2]]
    assert retriever.retrieve(batch) == [retriever.retrieve([given])[0] for given in batch]
    assert retriever.retrieve([]) == []


def test_a_policy_of_zeros_retrieves_nothing_and_asks_no_store() -> None:
    plain: Any = None
    assert Retriever(plain, Policy.none()).retrieve([NEW, NEW]) == [Retrieved(), Retrieved()]


def test_hints_alone_bring_no_records_and_records_alone_no_hints(store: KnowledgeStore) -> None:
    hinted = found_for(store, NEW, patterns=0, rules=0, thoughts=0)
    assert not hinted.records
    assert set(hinted.hints) == {(0, 1), (0, 2), (1, 2)}
    assert not found_for(store, NEW, hints=0).hints


GROCERY = [
    record("rule", f"put together {kind} and a mouse", ["g0"], domain="grocery", gain=gain, support=support)
    for kind, gain, support in (("tea", 0.02, 3), ("milk", None, 30), ("rice", 0.0, None))
]
FOREIGN = record("rule", "put together a mouse and a rug", ["v0"])
MANY = [*RECORDS, *GROCERY, *(record("thought", f"About {n}.", [f"t{n}"], kinds=("mouse", "pad")) for n in range(30))]

policies = st.builds(
    Policy,
    patterns=st.integers(0, 3),
    rules=st.integers(0, 4),
    thoughts=st.integers(0, 6),
    hints=st.sampled_from([0, 5, 30]),
    min_score=st.sampled_from([-1.0, 0.0, 0.2, 0.6]),
    budget=st.none() | st.integers(0, 60),
    search=st.sampled_from(["dense", "lexical", "hybrid"]),
    domain=st.sampled_from(["any", "own", "electronics", "grocery", "nowhere"]),
    diversity=st.sampled_from([0.0, 0.5]),
    rerank=st.sampled_from([0.0, 1.0]),
)
queries = st.sampled_from([NEW, *SESSIONS, *map(renamed, SESSIONS)]) | st.lists(
    st.sampled_from(["red mouse", "blue pad", "green rug", "oat milk", "???", "Maus \u2014 pad"]),
    min_size=2,
    max_size=6,
).map(lambda titles: session("drawn", titles, domain="electronics"))


def count(text: str) -> int:
    return len(text.split())


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeStore:
    """Return a store with two domains, many ties, and a record whose source became a validation session."""
    found = KnowledgeStore(tmp_path_factory.mktemp("big"), BagOfWords())
    found.replace([*MANY, FOREIGN], KNOWN)
    # Behind the store's back, which refuses such a change.
    found.database.change(Change("moved", sessions=[KnownSession(id="v0", split="validation", items="0" * 16)]))
    return found


def explained(store: KnowledgeStore, policy: Policy, given: Session) -> Explanation:
    return Retriever(store, policy, count).explain([given])[0]


@given(policy=policies, query=queries)
@settings(max_examples=40)
def test_no_policy_brings_a_session_its_own_knowledge_or_that_of_another_split(
    big: KnowledgeStore, policy: Policy, query: Session
) -> None:
    own = {query.session_id} | {s.session_id for s in SESSIONS if s.item_set == query.item_set}
    found = Retriever(big, policy, count).retrieve([query])[0]
    for shown, _ in (*found.records, *found.evidence):
        assert own.isdisjoint({*shown.source_session_ids, *shown.supporters})
        assert shown != FOREIGN


@given(policy=policies, query=queries)
@settings(max_examples=40)
def test_no_policy_is_exceeded(big: KnowledgeStore, policy: Policy, query: Session) -> None:
    records = [shown for shown, _ in Retriever(big, policy, count).retrieve([query])[0].records]
    for kind in KNOWLEDGE_KINDS:
        assert sum(shown.kind == kind for shown in records) <= policy.quota(kind)
    if policy.budget is not None:
        assert all(count(render(name, records=records)) <= policy.budget for name in ("knowledge", "notes"))
    domain = policy.domain_of(query.domain)
    assert domain is None or {shown.domain for shown in records} <= {domain}


@given(policy=policies, query=queries, shuffle=st.randoms())
@settings(max_examples=40)
def test_the_order_of_the_products_changes_nothing(
    big: KnowledgeStore, policy: Policy, query: Session, shuffle: Any
) -> None:
    items = list(query.items)
    shuffle.shuffle(items)
    moved = query.model_copy(update={"items": tuple(items)})
    assert explained(big, policy, moved) == explained(big, policy, query)


@given(policy=policies, query=queries)
@settings(max_examples=40)
def test_what_is_explained_is_what_is_retrieved(big: KnowledgeStore, policy: Policy, query: Session) -> None:
    verdicts = explained(big, policy, query).verdicts
    found = Retriever(big, policy, count).retrieve([query])[0]
    assert [(v.record, v.score) for v in verdicts if v.kept] == list(found.records)
    assert all(v.why for v in verdicts)
    for kind in KNOWLEDGE_KINDS:
        ranks = [v.rank for v in verdicts if v.record.kind == kind and v.rank]
        assert ranks == list(range(1, len(ranks) + 1))


@given(query=queries)
def test_quotas_of_zero_render_exactly_the_plain_prompt(big: KnowledgeStore, query: Session) -> None:
    assume(not unreadable(query))
    for policy in (Policy.none(), Policy(hints=0), Policy(patterns=2, rules=2, thoughts=2, hints=0, budget=0)):
        found = Retriever(big, policy, count).retrieve([query])[0]
        assert found == Retrieved()
        assert judge_prompt(query, found) == judge_prompt(query, Retrieved())
        assert write_prompt(query, found) == write_prompt(query, Retrieved())


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> list[KnowledgeStore]:
    """Return stores of the same knowledge, made in different orders and pieces, one of them opened again."""
    stores = []
    for number, order in enumerate((MANY, MANY[::-1], [*MANY[7:], *MANY[:7]])):
        found = KnowledgeStore(tmp_path_factory.mktemp(f"copy-{number}"), BagOfWords())
        for start in range(0, len(order), 20):
            found.change(Change("part", order[start : start + 20], sessions=KNOWN))
        stores.append(found)
    return [*stores, KnowledgeStore.open(stores[0].folder, BagOfWords())]


@given(policy=policies, query=queries)
@settings(max_examples=40)
def test_the_same_knowledge_gives_the_same_answer_however_it_got_there(
    copies: list[KnowledgeStore], policy: Policy, query: Session
) -> None:
    first, *others = [explained(store, policy, query) for store in copies]
    assert all(other == first for other in others)
    hints = [Retriever(store, policy, count).retrieve([query])[0].hints for store in copies[:1] * 2]
    assert hints[0] == hints[1]


def test_the_next_after_the_quota_says_why_it_was_dropped(big: KnowledgeStore) -> None:
    verdicts = explained(big, Policy(thoughts=2, hints=0), SESSIONS[0]).verdicts
    reasons = [v.why for v in verdicts]
    assert reasons[0].startswith("place 1 of")
    assert reasons[2].endswith(": the quota is 2")
    assert "it comes from this session" in reasons


def test_a_rule_of_another_split_is_named(big: KnowledgeStore) -> None:
    verdicts = explained(big, Policy(rules=9, hints=0, min_score=-1), NEW).verdicts
    assert {v.why for v in verdicts if v.record == FOREIGN} == {"it comes from v0, outside train"}


def test_enough_is_found_when_most_of_the_nearest_are_ones_own(tmp_path: Path) -> None:
    own = [record("rule", f"mouse and pad {n}", ["s0"], kinds=("mouse", "pad", "rug")) for n in range(60)]
    far = [record("rule", f"milk {n}", ["s1"], kinds=("milk", "tea", "mouse")) for n in range(3)]
    store = KnowledgeStore(tmp_path, BagOfWords())
    store.replace([*own, *far], KNOWN)
    found = found_for(store, SESSIONS[0], rules=3, hints=0)
    assert sorted(texts(found, "rule")) == ["milk 0", "milk 1", "milk 2"]


def test_a_budget_needs_somebody_who_counts(store: KnowledgeStore) -> None:
    with pytest.raises(UsageError, match="a token budget needs a student whose tokens are counted"):
        Retriever(store, Policy(budget=10))


def test_what_answers_depend_on_changes_with_policy_and_knowledge(tmp_path: Path) -> None:
    store = KnowledgeStore(tmp_path, BagOfWords())
    store.replace(RECORDS, KNOWN)
    before = Retriever(store, Policy()).about
    assert before == Retriever(KnowledgeStore.open(tmp_path, BagOfWords()), Policy()).about
    assert before["teacher"].startswith("grounded ")
    assert Retriever(store, Policy(hints=5)).about != before
    store.change(Change("one more", GROCERY[:1]))
    assert Retriever(store, Policy()).about["teacher"] != before["teacher"]
    store.undo()
    assert Retriever(store, Policy()).about == before


def test_thoughts_from_their_fields_are_shown_and_counted_in_that_wording(store: KnowledgeStore) -> None:
    fields = Policy(thoughts=1, hints=0, min_score=-1, wording="fields", budget=60)
    (shown,) = Retriever(store, fields, len).explain([NEW])
    (kept, *_) = shown.verdicts
    assert (
        kept.record.text == 'Products: mouse, pad and rug. Together for "set up a desk": mouse and pad. Left out: rug.'
    )
    tokens = max(len(render(name, records=[kept.record])) for name in ("knowledge", "notes"))
    assert kept.why == f"the knowledge would have {tokens} tokens: the budget is 60"
    assert kept.record.id in {record.id for record in RECORDS}
    told = texts(found_for(store, NEW, wording="told"), "thought")
    assert all(text.startswith("About ") for text in told)


@pytest.mark.parametrize("search", ["dense", "lexical", "hybrid"])
@pytest.mark.parametrize("kind", KNOWLEDGE_KINDS)
def test_unrelated_records_below_the_floor_are_left_out_of_every_search(
    tmp_path: Path, search: Any, kind: KnowledgeKind
) -> None:
    """A pattern of blu-ray players is no knowledge about earbuds, even where nothing else is known."""
    known = session("known", ["red blu-ray player", "hdmi cable long"], ((0, 1),))
    kinds = ("blu-ray player", "hdmi cable")
    known_by = {
        "pattern": pattern(kinds, ["known", "also"], ["known", "also"]),
        "rule": record("rule", "put together a blu-ray player and a red hdmi cable"),
        "thought": thought(known, kinds),
    }
    found = KnowledgeStore(tmp_path, BagOfWords())
    found.replace([known_by[kind]], [KnownSession.of(known), KnownSession(id="also", split="train", items="0" * 16)])
    earbuds = session("new", ["red hdmi earbuds", "foam ear tips", "neck strap", "charging dock"], split="test")
    floored = Policy(**{f"{kind}s": 4, "hints": 0, "search": search, "min_score": 0.5})
    assert found_for(found, earbuds, search=search).records
    (explained_,) = Retriever(found, floored).explain([earbuds])
    assert [(verdict.kept, "is below 0.5" in verdict.why) for verdict in explained_.verdicts] == [(False, True)]

"""Near-duplicates: clusters that no order of input changes, and one record that stands for each."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import BagOfWords, record, session, thought

from bundlewise.domain import Knowledge, KnownSession
from bundlewise.knowledge_base import duplicates as module
from bundlewise.knowledge_base.checks import faults_of
from bundlewise.knowledge_base.duplicates import Cluster, duplicates, merged
from bundlewise.prompts.render import render

WORDS = ("hats", "gloves", "shoes", "brand", "together", "apart")


def found(records: list[Knowledge], threshold: float = 0.7) -> list[Cluster]:
    return duplicates(records, BagOfWords().embed([", ".join(r.kinds) or r.text for r in records]), threshold)


def pattern(kinds: tuple[str, ...], sources: list[str], supporters: list[str], **fields: object) -> Knowledge:
    text = render("pattern", kinds=kinds, support=len(supporters), present=len(sources))
    numbers = {"support": len(supporters), "confidence": round(len(supporters) / len(sources), 4), "lift": 2.0}
    known = {"kinds": kinds, "supporters": tuple(supporters)} | numbers | fields
    return record("pattern", text, sources, **known)


rules = st.builds(
    lambda words, sources, gain, status: record("rule", " ".join(words), sorted(sources), gain=gain, status=status),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=5),
    st.sets(st.sampled_from(["s1", "s2", "s3"])),
    st.sampled_from([None, 0.0, 0.1, 0.2]),
    st.sampled_from(["active", "active", "active", "retired"]),
)
patterns = st.builds(
    lambda kinds, sources: pattern(tuple(kinds), sorted(sources), sorted(sources)[:2]),
    st.lists(st.sampled_from(["cable", "cables", "hdmi cable", "case", "cases"]), min_size=2, max_size=2),
    st.sets(st.sampled_from(["s1", "s2", "s3", "s4"]), min_size=2),
)
lists = st.lists(rules | patterns, max_size=14, unique_by=lambda known: known.id)


@given(lists, st.randoms())
def test_clusters_part_the_records_and_no_order_changes_them(records: list[Knowledge], random: Random) -> None:
    clusters = found(records)
    members = [known.id for cluster in clusters for known in cluster.members]
    assert len(members) == len(set(members))
    assert set(members) <= {known.id for known in records if known.status == "active"}
    for cluster in clusters:
        assert len(cluster.members) > 1
        assert len({(known.kind, known.domain) for known in cluster.members}) == 1
    assert found(random.sample(records, len(records))) == clusters


@given(lists)
def test_the_leader_is_the_best_of_its_cluster(records: list[Knowledge]) -> None:
    for cluster in found(records):
        ranks = [(-(known.gain or 0.0), -(known.support or 0), known.id) for known in cluster.members]
        assert ranks == sorted(ranks)
        assert cluster.leader == cluster.members[0]


@given(lists)
def test_merging_is_idempotent_and_gives_a_record_without_faults(records: list[Knowledge]) -> None:
    known = {s: KnownSession(id=s, split="train", items="0" * 16) for s in ("s1", "s2", "s3", "s4")}
    for cluster in found(records):
        one = merged(cluster)
        assert faults_of(one, known) == []
        assert merged(Cluster((one,))) == one
        assert merged(Cluster((one, *cluster.members))) == one
        sources = {source for member in cluster.members for source in member.source_session_ids}
        assert set(one.source_session_ids) == sources


@pytest.mark.parametrize("block", [1, 3, 256])
def test_blocks_do_not_change_the_clusters(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    random = Random(7)
    many = [record("rule", " ".join(random.choices(WORDS, k=4)), [f"s{n}"]) for n in range(40)]
    wanted = found(many)
    assert len(wanted) > 4
    monkeypatch.setattr(module, "BLOCK", block)
    assert found(many) == wanted


def test_a_record_follows_the_best_leader_it_is_like_and_leads_nobody_itself() -> None:
    best, middle, far = (
        record("rule", text, gain=gain)
        for text, gain in (("hats gloves shoes", 0.3), ("gloves shoes", 0.2), ("shoes", 0.1))
    )
    (cluster,) = found([far, middle, best])
    assert cluster.members == (best, middle)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (("cable", "case"), ("cases", "cables"), True),
        (("HDMI Cables", "camera"), ("hdmi cable", "Cameras"), True),
        (("cable", "case"), ("cable", "mouse"), False),
        (("cable", "case"), ("cable", "case", "mouse"), False),
        (("hdmi cable", "case"), ("cable", "case"), False),
    ],
)
def test_patterns_are_duplicates_by_their_kinds(a: tuple[str, ...], b: tuple[str, ...], same: bool) -> None:
    assert bool(found([pattern(a, ["s1", "s2"], ["s1"]), pattern(b, ["s3", "s4"], ["s4"])])) == same


def test_thoughts_of_different_sessions_are_separate_observations() -> None:
    one, other = (session(name, ["x", "y"]) for name in ("s1", "s2"))
    said = thought(one, ["hat", "glove"])
    again = record("thought", "Other words.", ["s1"], kinds=("hat", "glove"), titles=said.titles)
    (cluster,) = found([said, again, thought(other, ["hat", "glove"])])
    assert set(cluster.members) == {said, again}
    assert merged(cluster) == cluster.leader


def test_rules_that_say_opposite_things_are_no_duplicates() -> None:
    texts = ["put hats and gloves of one brand together", "put hats and gloves of one brand apart"]
    assert found([record("rule", text) for text in texts], threshold=0.5) == []


def test_rules_of_the_template_are_duplicates_over_one_condition_only() -> None:
    wanted = [
        record("rule", render("rule", joins=True, condition=condition, together=pairs // 2, pairs=pairs), [source])
        for condition, pairs, source in (
            ("a cap and a glove", 8, "s1"),
            ("a cap and a glove", 90, "s2"),
            ("a cap and a shoe", 8, "s3"),
        )
    ]
    (cluster,) = found(wanted, threshold=0.1)
    assert {known.source_session_ids for known in cluster.members} == {("s1",), ("s2",)}


def test_a_merged_rule_has_the_leaders_words_and_the_sources_of_all() -> None:
    leader = record("rule", "hats with gloves", ["s2"], gain=0.3, support=9)
    one = merged(Cluster((leader, record("rule", "gloves with hats", ["s1", "s2"], gain=0.1))))
    wanted = record("rule", "hats with gloves", ["s2", "s1"], gain=0.3, support=9)
    assert one == wanted
    assert one.id != leader.id


def test_a_merged_pattern_is_counted_and_worded_anew() -> None:
    leader = pattern(("cable", "case"), ["s1", "s2", "s3"], ["s1", "s3"])
    one = merged(Cluster((leader, pattern(("cables", "case"), ["s3", "s4"], ["s4"]))))
    assert one.text == "cable + case: bundled in 3 of 4 sessions that hold them"
    assert (one.support, one.confidence, one.lift) == (3, 0.75, None)
    assert one.source_session_ids == ("s1", "s2", "s3", "s4")
    assert one.supporters == ("s1", "s3", "s4")


def test_nothing_has_no_duplicates() -> None:
    assert duplicates([], np.zeros((0, 1), np.float32)) == []

"""The records answer by id, by kind, domain and status, and by words that are never more than words."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from samples import SOURCE, record

from bundlewise.domain import Knowledge, KnowledgeKind, KnownSession, Status
from bundlewise.knowledge_base.database import Change, Database
from bundlewise.knowledge_base.records import CHUNK, Records

MANY = [record("rule", f"rule {number}") for number in range(2 * CHUNK + 50)]
OTHERS = [
    record("pattern", "phone, case", kinds=("phone", "case")),
    record("thought", "a thought about phones", domain="grocery"),
    record("rule", "in quarantine", status="quarantined"),
    record("rule", "retired", status="retired", provenance=SOURCE.model_copy(update={"teacher": "gone"})),
    record("thought", "of a large model", provenance=SOURCE.model_copy(update={"teacher": "a-large-model"})),
]
WORDS = {
    "plain": record("rule", "mouse with pad"),
    "quoted": record("rule", '15" laptop sleeve'),
    "operators": record("rule", "milk AND tea OR NOT coffee NEAR sugar"),
    "unicode": record("rule", "Kaffeemühle für Grünkern 咖啡"),
    "kinds": record("rule", "nothing of the kind", kinds=("charger", "cable")),
}
KNOWN = [
    KnownSession(id="b", split="train", items="1" * 16),
    KnownSession(id="a", split="test", items="1" * 16),
    KnownSession(id="c", split="validation", items="2" * 16),
]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Records:
    database = Database(tmp_path_factory.mktemp("many"))
    database.change(Change("all", [*MANY, *OTHERS], sessions=KNOWN))
    return Records(database)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Records:
    database = Database(tmp_path_factory.mktemp("words"))
    database.change(Change("all", list(WORDS.values())))
    return Records(database)


@pytest.mark.parametrize("kind", [None, "rule", "pattern", "thought"])
@pytest.mark.parametrize("domain", [None, "electronics", "grocery", "none"])
@pytest.mark.parametrize("status", [None, "active", "retired"])
@pytest.mark.parametrize("limit", [None, 0, 1, CHUNK, CHUNK + 1])
def test_records_come_in_the_order_of_their_ids_over_all_pages(
    many: Records, kind: KnowledgeKind | None, domain: str | None, status: Status | None, limit: int | None
) -> None:
    wanted = {"kind": kind, "domain": domain, "status": status}
    fit = [r for r in [*MANY, *OTHERS] if all(v in (None, getattr(r, name)) for name, v in wanted.items())]
    assert list(many.select(kind, domain, status, limit)) == sorted(fit, key=lambda r: r.id)[:limit]


def test_records_are_read_by_id_whatever_their_status(many: Records) -> None:
    keys = [r.id for r in [*MANY, *OTHERS]]
    assert many.get([*keys, "unknown"]) == {r.id: r for r in [*MANY, *OTHERS]}
    assert many.get([]) == {}


def test_records_are_counted_by_kind_domain_and_status(many: Records) -> None:
    assert many.counts() == {
        ("rule", "electronics", "active"): len(MANY),
        ("rule", "electronics", "quarantined"): 1,
        ("rule", "electronics", "retired"): 1,
        ("pattern", "electronics", "active"): 1,
        ("thought", "electronics", "active"): 1,
        ("thought", "grocery", "active"): 1,
    }


def test_teachers_are_those_of_active_records(many: Records) -> None:
    assert many.teachers() == ["a-large-model", "grounded"]


def test_sessions_are_known_by_id_split_and_item_set(many: Records) -> None:
    assert many.sessions() == sorted(KNOWN, key=lambda session: session.id)
    assert many.known(["a", "b", "unknown", "a"]) == {"a": KNOWN[1], "b": KNOWN[0]}
    assert many.outside_train() == {"a", "c"}
    assert many.twins("1" * 16) == {"a", "b"}
    assert many.twins("3" * 16) == frozenset()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["mouse"], ["plain"]),
        (["MOUSE"], ["plain"]),
        (["pads"], ["plain"]),
        (["15", "sleeve"], ["quoted"]),
        (['15"'], ["quoted"]),
        (["chargers"], ["kinds"]),
        (["kaffeemuhle"], ["unicode"]),
        (["GRÜNKERN"], ["unicode"]),
        (["咖啡"], ["unicode"]),
        (["NEAR"], ["operators"]),
        (["NOT"], ["operators"]),
        (["unknown"], []),
        ([], []),
        (["", '"', "*", "(", ")", ":", "-", "^", "+", "{", "}", ",", "'"], []),
        (["text:mouse"], []),
        (["mou*"], []),
        (["mouse) OR (milk"], []),
        (["mouse\0", "mouse"], ["plain"]),
        (["mouse pad"], []),
        (["with pad"], ["plain"]),
    ],
)
def test_words_are_found_as_they_are_and_operators_are_words(
    words: Records, asked: list[str], found: list[str]
) -> None:
    assert {key for key, _ in words.lexical(asked, "rule", None, 10)} == {WORDS[name].id for name in found}


@given(asked=st.lists(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=12), max_size=5))
@example(asked=['"OR"', "NEAR(", "a\0b", "\u2028", "a NOT b"])
def test_no_words_break_a_search(words: Records, asked: list[str]) -> None:
    assert len(words.lexical(asked, "rule", None, 3)) <= 3


def test_thousands_of_words_are_one_search(words: Records) -> None:
    assert len(words.lexical([*(f"w{number}" for number in range(5000)), "mouse"], "rule", None, 3)) == 1


def test_a_search_gives_so_many_active_ones_of_a_kind_and_domain_best_first(tmp_path: Path) -> None:
    twice, once = record("rule", "mouse mouse pad"), record("rule", "mouse with pad and many other words")
    ties = [record("rule", f"{word} pad mouse") for word in ("one", "two", "six")]
    hidden: list[Knowledge] = [
        record("rule", "mouse retired", status="retired"),
        record("pattern", "mouse"),
        record("rule", "mouse", domain="grocery"),
    ]
    database = Database(tmp_path)
    held = Records(database)
    database.change(Change("all", [*ties, once, twice, *hidden, *MANY[:30]]))
    found = held.lexical(["mouse"], "rule", "electronics", 10)
    assert [key for key, _ in found] == [twice.id, *sorted(tie.id for tie in ties), once.id]
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert held.lexical(["mouse"], "rule", "electronics", 2) == found[:2]
    assert held.lexical(["mouse"], "rule", "electronics", 0) == []
    assert {key for key, _ in held.lexical(["mouse"], "rule", None, 10)} == {*dict(found), hidden[2].id}

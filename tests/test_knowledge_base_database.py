"""The database changes in transactions, each of which can be taken back to the byte."""

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import record

from bundlewise.domain import KNOWLEDGE_KINDS, Knowledge, KnownSession
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base import database as module
from bundlewise.knowledge_base.database import FILE, Change, Database, Pending
from bundlewise.knowledge_base.records import Records

RULES = [record("rule", text) for text in ("mouse with pad", "milk with tea", "rug apart", 'a "status":"active" rule')]
S1 = KnownSession(id="s1", split="train", items="0" * 16)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


def bodies(database: Database) -> list[tuple[str, ...]]:
    """Return all that undoing must bring back: records, sessions and digest, as they stand in the file."""
    queries = ("SELECT * FROM records ORDER BY id", "SELECT id, body FROM sessions ORDER BY id")
    rows = [row[0 if "sessions" in query else 1 :] for query in queries for row in database.db.execute(query)]
    return [*rows, (database.meta()["digest"],)]


def test_a_change_is_counted_numbered_and_remembered(database: Database) -> None:
    assert database.change(Change("import a", RULES[:2], sessions=[S1])) == 1
    assert database.change(Change("import b", RULES[2:])) == 2
    assert database.meta()["revision"] == 2
    assert [(row.number, row.what, row.records) for row in database.history()] == [
        (2, "import b", 2),
        (1, "import a", 2),
    ]
    assert [row.number for row in database.history(1)] == [2]


def test_what_is_there_already_is_no_change(database: Database) -> None:
    database.change(Change("first", RULES, sessions=[S1]))
    before = database.meta()
    assert database.change(Change("again", RULES[::-1], remove=["unknown"], sessions=[S1])) is None
    assert database.meta() == before
    assert len(database.history()) == 1


@pytest.mark.parametrize("change", [{"status": "retired"}, {"gain": 0.5}, {"reason": "x"}, {"support": 0}])
def test_a_record_that_differs_in_any_field_is_replaced(database: Database, change: dict[str, object]) -> None:
    database.change(Change("first", RULES))
    changed = RULES[0].model_copy(update=change)
    assert database.change(Change("second", [changed])) == 2
    assert Records(database).get([changed.id]) == {changed.id: changed}


def test_a_change_that_fails_changes_nothing(database: Database) -> None:
    database.change(Change("first", RULES[:1], sessions=[S1]))
    before = bodies(database), database.meta(), database.pending_count()

    class Broken(Knowledge):
        def model_dump_json(self, **_: object) -> str:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        database.change(Change("second", [RULES[1], Broken(**RULES[2].model_dump())]))
    assert (bodies(database), database.meta(), database.pending_count()) == before
    assert database.change(Change("second", RULES[1:2])) == 2


def test_what_a_change_touches_waits_for_its_vector(database: Database) -> None:
    database.change(Change("first", RULES))
    assert database.pending(10) == [Pending(r.id, "rule", "electronics") for r in sorted(RULES, key=lambda r: r.id)]
    database.settled([rule.id for rule in RULES])
    database.change(Change("second", remove=[RULES[0].id]))
    assert [row.id for row in database.pending(10)] == [RULES[0].id]
    database.settled([RULES[0].id])
    database.unsettle([RULES[1].id, "unknown"])
    assert [row.id for row in database.pending(10)] == [RULES[1].id]


def test_undo_says_what_it_took_back_and_stops_at_the_first_change(database: Database) -> None:
    database.change(Change("import a", RULES))
    assert database.undo().what == "import a"
    assert list(Records(database).select(status=None)) == []
    with pytest.raises(UsageError, match=r"nothing to undo in .*; its journal is empty"):
        database.undo()


def test_undo_brings_back_what_one_change_touched_twice(database: Database) -> None:
    database.change(Change("first", RULES[:1], sessions=[S1]))
    before = bodies(database)
    twice = [RULES[0].model_copy(update={"gain": gain}) for gain in (0.1, 0.2)]
    known = [S1.model_copy(update={"split": split}) for split in ("test", "validation")]
    database.change(Change("second", [*twice, RULES[1]], remove=[RULES[1].id], sessions=known))
    database.undo()
    assert bodies(database) == before


@st.composite
def changes(draw: st.DrawFn) -> Change:
    texts = st.sampled_from(["mouse", "milk, tea", "Möbel", 'a "b" \\ c', "status active"])
    fields = st.fixed_dictionaries(
        {"status": st.sampled_from(["active", "quarantined", "retired"]), "gain": st.sampled_from([None, 0.1, -0.0])}
    )
    put = draw(st.lists(st.builds(lambda k, t, f: record(k, t, **f), st.sampled_from(KNOWLEDGE_KINDS), texts, fields)))
    known = st.builds(KnownSession, id=st.sampled_from("ab"), split=st.sampled_from(["train", "test"]), items=texts)
    keys = [record(kind, text).id for kind in KNOWLEDGE_KINDS for text in ("mouse", "Möbel")]
    remove = draw(st.lists(st.sampled_from(keys), max_size=3))
    return Change(draw(texts), put, remove, draw(st.lists(known, max_size=2)))


@settings(max_examples=30)
@given(plan=st.lists(changes(), max_size=6))
def test_undoing_all_gives_every_earlier_state_back_to_the_byte(plan: list[Change]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder))
        states = [bodies(database)]
        for change in plan:
            if database.change(change) is not None:
                states.append(bodies(database))
            assert bodies(database) == states[-1]
        while len(states) > 1:
            states.pop()
            database.undo()
            assert bodies(database) == states[-1]
            assert database.faults() == []
        database.close()


@settings(max_examples=15)
@given(order=st.permutations(RULES), cut=st.integers(0, len(RULES)))
def test_the_digest_is_that_of_the_active_records_however_they_came(order: list[Knowledge], cut: int) -> None:
    def digest(*changes: Change) -> str:
        with tempfile.TemporaryDirectory() as folder:
            database = Database(Path(folder))
            for change in changes:
                database.change(change)
            found = str(database.meta()["digest"])
            database.close()
            return found

    gone = order[0].model_copy(update={"status": "retired"})
    pieces = Change("a", order[:cut]), Change("b", order[cut:])
    assert digest(*pieces) == digest(Change("all", RULES))
    assert digest(*pieces, Change("c", [gone])) == digest(Change("all", order[1:]))


def test_filling_an_empty_database_leaves_nothing_to_undo_and_nothing_pending(database: Database) -> None:
    database.adopt(RULES, [S1], {"schema": 99, "digest": "ff", "revision": 7, "embedder": "minilm"})
    assert database.history() == [] and database.pending(1) == []
    assert (database.meta()["revision"], database.meta()["embedder"], database.meta()["schema"]) == (
        7,
        "minilm",
        module.SCHEMA,
    )
    assert Records(database).sessions() == [S1]
    assert database.faults() == []


def test_several_values_change_at_once_and_none_removes_one(database: Database) -> None:
    database.set_meta(embedder="minilm", generation=2)
    database.set_meta(embedder=None, generation=3)
    found = database.meta()
    assert "embedder" not in found and found["generation"] == 3


@pytest.mark.parametrize(
    ("schema", "message"),
    [(3, "has schema 3, not 2; update bundlewise"), (1, "has schema 1, not 2; export it with the bundlewise that")],
)
def test_another_schema_is_refused(database: Database, schema: int, message: str) -> None:
    database.set_meta(schema=schema)
    with pytest.raises(KnowledgeError, match=message):
        Database(database.path.parent)


@pytest.mark.parametrize("content", [b"not a database " * 100, b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_file_is_an_error_that_says_how_to_make_it_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(
        KnowledgeError, match=rf"cannot open .*{FILE}: .*; rebuild it .*: bundlewise kb recover {tmp_path}"
    ):
        Database(tmp_path)


def test_pages_that_are_damaged_are_found(database: Database) -> None:
    database.change(Change("first", [record("rule", f"rule {n}") for n in range(300)]))
    database.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    content = bytearray(database.path.read_bytes())
    content[20_000:] = b"\xff" * len(content[20_000:])
    database.path.write_bytes(bytes(content))
    again = Database(database.path.parent)
    assert again.faults()
    with pytest.raises(KnowledgeError, match="bundlewise kb recover"):
        list(Records(again).select())


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE records SET body = replace(body, 'mouse', 'house')", "the digest is not that of the records"),
        ("INSERT INTO words (words, rowid, text, kinds) VALUES ('delete', 1, 'mouse with pad', '')", "malformed"),
    ],
)
def test_what_does_not_fit_together_is_found(database: Database, statement: str, fault: str) -> None:
    database.change(Change("first", RULES))
    assert database.faults() == []
    database.db.execute(statement)
    assert [fault in found for found in database.faults()] == [True]


def test_a_record_that_is_no_longer_one_is_an_error_with_a_remedy(database: Database) -> None:
    database.change(Change("first", RULES))
    database.db.execute("UPDATE records SET body = '{'")
    for read in (lambda: list(Records(database).select()), lambda: Records(database).get([RULES[0].id])):
        with pytest.raises(KnowledgeError, match=r"a Knowledge in it is damaged; .*bundlewise kb recover"):
            read()


def test_a_database_that_another_process_writes_to_says_so(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.change(Change("first", RULES))
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    second = Database(database.path.parent)
    database.db.execute("BEGIN IMMEDIATE")
    assert list(Records(second).select()) == list(Records(database).select())
    with pytest.raises(KnowledgeError, match="database is locked; another process writes; wait for it and run again"):
        second.change(Change("second", remove=[RULES[0].id]))
    database.db.execute("COMMIT")
    assert second.change(Change("second", remove=[RULES[0].id])) == 2


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("database or disk is full", "free space and run again; nothing was changed"),
        ("disk I/O error", "free space or check the disk, and run again"),
        ("attempt to write a readonly database", "make the folder writable, or copy the knowledge base"),
        ("unable to open database file", "make the folder readable and writable, or choose another"),
    ],
)
def test_what_sqlite_says_becomes_a_message_with_a_remedy(database: Database, text: str, remedy: str) -> None:
    with pytest.raises(KnowledgeError, match=f"cannot write .*{FILE}: {text}; {remedy}"), database.plainly("write"):
        raise sqlite3.OperationalError(text)


def test_a_commit_that_fails_leaves_the_database_usable(database: Database) -> None:
    """A disk may be full at the very end of a transaction."""
    database.change(Change("first", RULES[:1]))
    database.db.execute("PRAGMA foreign_keys = ON")
    database.db.execute("CREATE TABLE held (id TEXT REFERENCES records (id) DEFERRABLE INITIALLY DEFERRED)")
    database.db.execute("INSERT INTO held VALUES (?)", (RULES[0].id,))
    with pytest.raises(KnowledgeError, match="FOREIGN KEY constraint failed"):
        database.change(Change("second", remove=[RULES[0].id]))
    assert list(Records(database).select()) == RULES[:1]
    assert database.change(Change("third", RULES[1:])) == 2


@pytest.mark.parametrize("name", ["kb", "what? 100% #1", "Möbel & more"])
def test_a_folder_nobody_may_write_to_is_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()
    first = Database(tmp_path / name)
    first.change(Change("first", RULES))
    first.close()
    connect = sqlite3.connect

    def refuse(database: object, **options: object) -> sqlite3.Connection:
        if "uri" not in options:
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return connect(str(database), **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite3, "connect", refuse)
    database = Database(tmp_path / name)
    assert len(list(Records(database).select())) == len(RULES)
    with pytest.raises(KnowledgeError, match="readonly database; make the folder writable, or copy the knowledge base"):
        database.change(Change("second", remove=[RULES[0].id]))

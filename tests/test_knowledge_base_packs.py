"""Packs are read back equal; what was changed, lost or may not teach is refused by file and line, or sorted out."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from samples import record, session, thought

from bundlewise.domain import Knowledge, KnownSession
from bundlewise.errors import DataError, UsageError
from bundlewise.knowledge_base import packs
from bundlewise.knowledge_base.packs import PackFault, read_pack, salvage, write_pack

S1 = session("s1", ["x", "y", "z"], ((0, 2),))
SESSIONS = [
    *(KnownSession.of(s) for s in (S1, session("s2", ["x", "w"]))),
    *(KnownSession.of(session(f"{split}1", ["q", split], split=split)) for split in ("validation", "test")),
]
RECORDS = sorted(
    [
        record("pattern", "a + b: bundled", ["s1", "s2"], kinds=("a", "b"), supporters=("s1",), support=1, lift=1.5),
        record("rule", "keep apart — é", ["s1"], gain=-0.01, status="quarantined", reason="held-out GJS -0.0100"),
        thought(S1, ["a", "b", "c"], lesson="a goes with c", original="1 and 3 in the first place"),
    ],
    key=lambda known: known.id,
)
PATTERN, RULE, THOUGHT = RECORDS


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    write_pack(tmp_path / "a.pack", RECORDS, SESSIONS, {"ratio": 1.0})
    return tmp_path / "a.pack"


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def fake(path: Path, *records: Knowledge) -> Path:
    """Write a pack whose checks fit though its records do not belong into one."""

    class Open(packs._Door):
        def refuse(self, record: Knowledge, number: int) -> str:
            return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "_Door", Open)
        write_pack(path, records, SESSIONS)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_pack(path)
    return str(caught.value).replace(f"{path}", "PACK")


def test_a_pack_is_read_back_equal(pack: Path) -> None:
    found = read_pack(pack)
    assert found.records == tuple(RECORDS)
    assert set(found.sessions) == set(SESSIONS)
    assert salvage(pack) == (found, [])


def test_the_first_line_says_what_the_pack_holds_and_what_may_teach(pack: Path) -> None:
    manifest = json.loads(lines(pack)[0])
    assert manifest == read_pack(pack).manifest
    assert len(manifest.pop("checksum")) == 64
    assert manifest == {
        "bundlewise_pack": 3,
        "records": 3,
        "sessions": {
            "train": {"s1": S1.item_set, "s2": SESSIONS[1].items},
            "validation": {"validation1": SESSIONS[2].items},
            "test": {"test1": SESSIONS[3].items},
        },
        "teachers": ["grounded"],
        "prompts": ["0" * 12],
        "ratio": 1.0,
    }


def test_every_other_line_is_a_record_by_itself(pack: Path) -> None:
    rows = [json.loads(line) for line in lines(pack)[1:]]
    assert all(len(row.pop("check")) == 12 for row in rows)
    assert [Knowledge.model_validate(row) for row in rows] == RECORDS


def test_the_same_input_in_any_order_gives_the_same_bytes(pack: Path, tmp_path: Path) -> None:
    write_pack(tmp_path / "b.pack", RECORDS[::-1], SESSIONS[::-1], {"ratio": 1.0})
    assert (tmp_path / "b.pack").read_bytes() == pack.read_bytes()


def test_a_pack_of_the_version_before_is_read(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = [each.model_copy(update={"intents": (), "lesson": "", "original": ""}) for each in RECORDS]
    monkeypatch.setattr(packs.manifests, "SCHEMA", 2)
    write_pack(tmp_path / "old.pack", old, SESSIONS)
    monkeypatch.undo()
    assert b"intents" not in (tmp_path / "old.pack").read_bytes()
    assert read_pack(tmp_path / "old.pack").records == tuple(old)


def test_an_empty_pack_is_a_pack(tmp_path: Path) -> None:
    write_pack(tmp_path / "a.pack", [], [])
    assert read_pack(tmp_path / "a.pack").records == ()


def test_line_ends_of_another_system_change_nothing(pack: Path) -> None:
    pack.write_bytes(pack.read_bytes().replace(b"\n", b"\r\n"))
    assert read_pack(pack).records == tuple(RECORDS)


def test_what_is_said_of_a_pack_cannot_overrule_its_manifest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a manifest has a field sessions already; give yours another name"):
        write_pack(tmp_path / "a.pack", [], [], {"sessions": []})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"text": "r", "sources": ["v9"]}, "its source v9 is not among the known sessions"),
        ({"text": "r", "gain": float("nan")}, "its gain must be a finite number, got nan"),
        ({"text": "r" * 1_000_000}, "longer than 1,000,000 bytes"),
    ],
    ids=["a foreign source", "no number", "too long"],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=rf"cannot write .*: rule rule-\w+: {reason}; retire or correct it"):
        write_pack(tmp_path / "a.pack", [record("rule", **fields)], SESSIONS)
    assert not list(tmp_path.iterdir())


MANIFEST = {"bundlewise_pack": 2, "records": 0, "checksum": "0" * 64, "sessions": {}, "teachers": [], "prompts": []}
NO_MANIFEST = "PACK:1: no manifest; give a file that bundlewise wrote as a pack"
AGAIN = "; fetch or export the pack again"


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("", "PACK: empty" + AGAIN),
        ("\n", "PACK: empty" + AGAIN),
        ("[]\n", NO_MANIFEST),
        ("{}\n", NO_MANIFEST),
        ("\x00\x93\xff", NO_MANIFEST),
        ("[" * 100_000, NO_MANIFEST),
        ('{"bundlewise_pack": ' + "9" * 5000 + "}", NO_MANIFEST),
        (
            {"bundlewise_pack": 1},
            "PACK:1: a pack of version 1, which does not say which sessions may teach; distil again",
        ),
        ({"bundlewise_pack": 4}, "PACK:1: a pack of version 4, newer than 3; update bundlewise"),
        ({"bundlewise_pack": "x"}, "PACK:1: the manifest's bundlewise_pack: Input should be 2 or 3" + AGAIN),
        ({"checksum": "0"}, "PACK:1: the manifest's checksum: String should match pattern '^[0-9a-f]{64}$'" + AGAIN),
        ({"records": -1}, "PACK:1: the manifest's records: Input should be greater than or equal to 0" + AGAIN),
        ({"sessions": []}, "PACK:1: the manifest's sessions: Input should be a valid dictionary" + AGAIN),
        (
            {"sessions": {"all": {}}},
            "PACK:1: the manifest's sessions.all.[key]: Input should be 'train', 'validation' or 'test'" + AGAIN,
        ),
        (
            {"sessions": {"train": {"s": "0" * 16}, "test": {"s": "0" * 16}}},
            "PACK:1: the manifest has session s in train and in test" + AGAIN,
        ),
        (
            {"ratio": float("nan")},
            "PACK:1: the manifest is not portable JSON (Out of range float values are not JSON compliant)" + AGAIN,
        ),
        (
            {"records": 7},
            "PACK:1: 7 records are announced and 0 are here" + AGAIN,
        ),
        (
            {"teachers": ["another"]},
            "PACK:1: the checksum does not fit, though every record is whole: the manifest or the order was changed"
            + AGAIN,
        ),
    ],
)
def test_a_file_without_a_fitting_manifest_is_refused(tmp_path: Path, first: Any, message: str) -> None:
    text = first if isinstance(first, str) else json.dumps(MANIFEST | first) + "\n"
    (tmp_path / "a.pack").write_text(text, encoding="latin-1")
    assert refusal(tmp_path / "a.pack") == message


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "cannot read PACK: Is a directory; check path and permissions"
    with pytest.raises(UsageError, match=r"no file .*none; check the path"):
        read_pack(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "rule-0"}, f"its id rule-0 is not that of its content, {RULE.id}"),
        ({"sources": ["s1", "v9"]}, "its source v9 is not among the known sessions"),
        ({"sources": ["test1"]}, "its source test1 is a test session; only training sessions may teach"),
        (
            {"supporters": ("validation1",)},
            "its source validation1 is a validation session; only training sessions may teach",
        ),
        (
            {"kind": "thought", "sources": ["s1"], "kinds": ("a", "b"), "titles": S1.titles},
            "it has 2 kinds for 3 titles",
        ),
        (
            {"kind": "thought", "sources": ["s2"], "kinds": ("a", "b", "c"), "titles": S1.titles},
            "its titles are not those of its source s2",
        ),
    ],
)
def test_a_record_that_may_not_come_in_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    fields = {"kind": "rule", "text": RULE.text, "sources": ["s1"], "status": "quarantined"} | change
    path = fake(tmp_path / "a.pack", record(**fields))
    assert refusal(path) == f"PACK:2: {reason}{AGAIN}"


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("a + b: bundled", "a + c: bundled", 2, "changed since it was written: its id is not that of its content"),
        ('"gain": -0.01', '"gain": 0.01', 3, "changed since it was written: its check does not fit"),
        ('"quarantined"', '"active"', 3, "changed since it was written: its check does not fit"),
        ('"titles": ["x"', '"titles": ["w"', 4, "changed since it was written: its check does not fit"),
        ('"kind": "rule"', '"kind": "poem"', 3, "not knowledge: kind: Input should be 'pattern', 'rule' or 'thought'"),
        ('"gain": -0.01', '"gain": "-0.01"', 3, "not knowledge: gain: Input should be a valid number"),
        ('"gain"', '"profit"', 3, "not knowledge: profit: Extra inputs are not permitted"),
        ('"lift": 1.5', '"lift": Infinity', 2, "not JSON (Out of range float values are not JSON compliant"),
        ('"check"', '"cheek"', 2, "not knowledge: cheek: Extra inputs are not permitted"),
        ("é", "\\ud800", 3, "not UTF-8 (surrogates not allowed)"),
        ("keep apart", "keep\x01apart", 3, "not JSON (Invalid control character at)"),
        ('"gain": -0.01', '"gain": ' + "9" * 5000, 3, "not JSON (Exceeds the limit (4300 digits)"),
        ('"gain": -0.01', '"gain": ' + "[" * 100_000, 3, "not JSON (maximum recursion depth exceeded"),
        ('"gain": -0.01', '"gain": ' + "9" * 10_000_000, 3, "longer than 1,000,000 bytes"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_a_changed_line_is_named_and_the_others_are_salvaged(
    pack: Path, old: str, new: str, line: int, reason: str
) -> None:
    text = pack.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    head, rest = text.split("\n", 1)
    pack.write_text(head + "\n" + rest.replace(old, new, 1), encoding="utf-8")
    assert refusal(pack).startswith(f"PACK:{line}: {reason}")
    found, faults = salvage(pack)
    assert found.records == tuple(known for place, known in enumerate(RECORDS, 2) if place != line)
    assert [fault.line for fault in faults] == [line]
    assert faults[0].text[:10] == '{"id": "' + RECORDS[line - 2].id[:2]
    assert len(faults[0].text) <= 300


@pytest.mark.parametrize(
    ("edit", "message", "left"),
    [
        (lambda rows: rows[:-1], "PACK:1: 3 records are announced and 2 are here", 2),
        (lambda rows: [*rows[:2], b"\n", *rows[3:]], "PACK:1: 3 records are announced and 2 are here", 2),
        (lambda rows: [*rows, b"\n", b"x\n"], "PACK:1: 3 records are announced and 4 are here\nPACK:6: not JSON", 3),
        (
            lambda rows: [*rows[:3], rows[3].replace(b'"domain"', b'"gain": 1, "gain": 2, "domain"', 1)],
            "PACK:4: the key 'gain' occurs twice in one object",
            2,
        ),
        (lambda rows: [*rows, rows[1]], "PACK:1: 3 records are announced and 4 are here\nPACK:5: its id is already", 3),
        (lambda rows: [*rows[:3], rows[1]], "PACK:4: its id is already in line 2", 2),
        (lambda rows: [rows[0], rows[2], rows[1], rows[3]], "PACK:1: the checksum does not fit, though", 3),
        (lambda rows: [*rows[:3], rows[3][:50]], "PACK:4: not JSON", 2),
        (lambda rows: [*rows[:3], b"\xff\xfe\n"], "PACK:4: not UTF-8 (invalid start byte)", 2),
        (lambda rows: [*rows[:3], b"[1]\n"], "PACK:4: not JSON of a record, but of type list", 2),
    ],
)
def test_lines_that_are_lost_added_or_moved_are_noticed(
    pack: Path, edit: Callable[[list[bytes]], list[bytes]], message: str, left: int
) -> None:
    pack.write_bytes(b"".join(edit(lines(pack))))
    assert refusal(pack).startswith(message)
    assert len(salvage(pack)[0].records) == left


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: [b"\xef\xbb\xbf" + rows[0], *rows[1:]],
        lambda rows: [b"\n", b" \r\n", *rows, b"\n", b"\n"],
        lambda rows: [row.replace(b"\n", b"\r\n") for row in rows],
        lambda rows: [rows[0], b"\n", *rows[1:3], b"  \n", rows[3].rstrip()],
    ],
    ids=["a byte order mark", "blank lines around", "CRLF", "blank lines inside"],
)
def test_what_editors_do_to_a_pack_changes_nothing_of_it(
    pack: Path, edit: Callable[[list[bytes]], list[bytes]]
) -> None:
    before = read_pack(pack)
    pack.write_bytes(b"".join(edit(lines(pack))))
    assert read_pack(pack) == before


def test_a_manifest_that_names_a_key_twice_is_refused(pack: Path) -> None:
    first, *rest = lines(pack)
    pack.write_bytes(b"".join([first.replace(b'"records": 3', b'"records": 3, "records": 3'), *rest]))
    assert refusal(pack).startswith("PACK:1: the manifest is not portable JSON (the key 'records' occurs twice")


def test_five_faults_are_named_and_the_others_counted(tmp_path: Path) -> None:
    fake(tmp_path / "a.pack", *(record("rule", f"rule {n}", [f"v{n}"]) for n in range(7)))
    message = refusal(tmp_path / "a.pack").splitlines()
    assert [row.split(": ")[0] for row in message[:-1]] == [f"PACK:{line}" for line in range(2, 7)]
    assert message[-1] == f"and 2 more faults{AGAIN}"


def test_a_damaged_line_does_not_stand_in_the_way_of_its_whole_copy(pack: Path) -> None:
    rows = lines(pack)
    pack.write_bytes(b"".join([*rows[:2], rows[2].replace(b"-0.01", b"-0.02"), rows[2]]))
    found, faults = salvage(pack)
    assert found.records == (PATTERN, RULE)
    assert [fault.line for fault in faults] == [3]


def mutated(line: bytes, other: bytes, random: Random) -> bytes:
    """Return a line with a random fault, or now and then as it was."""
    place = random.randrange(len(line))
    junk = random.choice([b'"', b"{", b"]", b"null", b"NaN", b"1e999", b"\\ud800", b"\x00", b"\xff", b"9" * 5000, b"["])
    match random.randrange(8):
        case 0:
            return line[:place] + bytes([line[place] ^ 1 << random.randrange(8)]) + line[place + 1 :]
        case 1:
            return line[: place or 1]
        case 2:
            return other
        case 3:
            return line[:place] + junk + line[place:]
        case 4:
            return line[:place] + junk + line[place + len(junk) :]
        case 5:
            row = json.loads(line)
            row[random.choice(list(row))] = random.choice([None, [], {}, "", 7, -1.5, True, [[9]], "\x1b[2J"])
            return json.dumps(row).encode()
        case 6:
            return line.replace(b"bundled", random.choice([b"bundles", b"Bundled", b""]), 1)
        case _:
            return line


def test_ten_thousand_mutated_lines_are_each_a_whole_record_or_a_fault(tmp_path: Path) -> None:
    random, path = Random(0), tmp_path / "a.pack"
    written = [
        record("rule", f"rule {n} — bundled", ["s1"], gain=n / 1000, support=n, kinds=("a", "b")) for n in range(10_000)
    ]
    write_pack(path, written, SESSIONS)
    head, *rows = path.read_bytes().splitlines()
    changed = [mutated(row, random.choice(rows), random) for row in rows]
    # A line feed would make two lines of one, which is not what is counted here.
    changed = [row.replace(b"\n", b" ") for row in changed]
    path.write_bytes(b"\n".join([head, *changed]) + b"\n")
    found, faults = salvage(path)
    assert len(found.records) + len(faults) == 10_000
    assert {fault.line for fault in faults} <= set(range(2, 10_002))
    assert len({fault.line for fault in faults}) == len(faults)
    whole = {known.id: known for known in written}
    assert all(whole[known.id] == known for known in found.records)
    assert len({known.id for known in found.records}) == len(found.records)
    assert len(found.records) > 1000
    assert len(faults) > 5000
    assert all(fault.reason and fault.text.isprintable() and fault.reason.isprintable() for fault in faults)


def test_a_fault_shows_no_control_characters(pack: Path) -> None:
    rows = lines(pack)
    pack.write_bytes(b"".join([*rows[:3], b'{"\\u001b[2J\\n": 1, "id": "\x1b[31m"}\n']))
    assert salvage(pack)[1] == [
        PackFault(4, "not JSON (Invalid control character at)", '{"\\u001b[2J\\n": 1, "id": " [31m"}')
    ]
    pack.write_bytes(b"".join([*rows[:3], rows[3].replace(b'"id"', b'"\\u001b[2J"')]))
    assert all(fault.reason.isprintable() for fault in salvage(pack)[1])

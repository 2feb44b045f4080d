"""Feedback: kept for good line by line, and evidence for a teacher that never comes from sessions it must not see."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from assistant_samples import SHOP, WordStudent
from samples import BagOfWords, session

from bundlewise.agents.assistant.conversation import Action
from bundlewise.cli import main
from bundlewise.data.feedback import Feedback, FeedbackLog, learn, read_feedback
from bundlewise.data.sessions import load, write_sessions
from bundlewise.domain import Item, Session
from bundlewise.errors import BundlewiseError, DataError, UsageError
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline.assistant import Assistant
from bundlewise.pipeline.product_search import ProductFinder

CART = tuple(SHOP[:6])


def rating(*bundle: str, up: bool = True, note: str = "", cart: tuple[Item, ...] = CART, **fields: Any) -> Feedback:
    known: dict[str, Any] = {"id": f"feedback-{len(bundle)}{up}{note}", "at": "2026-11-27", "owner": "o", "thread": "t"}
    said: dict[str, Any] = {
        "what": "bundle",
        "up": up,
        "note": note,
        "items": cart,
        "bundle": bundle,
        "intent": "go out",
    }
    return Feedback(**known | said | fields)


def test_ratings_of_a_thread_are_kept_with_all_that_they_are_about(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    with Assistant(WordStudent(), ProductFinder(SHOP, BagOfWords()), feedback=path) as assistant:
        list(assistant.act("t", Action(name="add", ids=("t1", "c1", "b1")), "anna"))
        list(assistant.send("t", "bundle this", "anna"))
        first = assistant.rate("t", "anna", 1, up=True, note="just right")
        second = assistant.rate("t", "anna", None, up=False)
        for number in (0, 2, -1):
            with pytest.raises(UsageError, match=f"no bundle {number}"):
                assistant.rate("t", "anna", number)
        with pytest.raises(UsageError, match="no such thread"):
            assistant.rate("t", "bert", 1)
        with pytest.raises(UsageError, match="the note has 2,001 characters"):
            assistant.rate("t", "anna", 1, note="x" * 2001)
    assert read_feedback(path) == [first, second]
    assert (first.bundle, first.note, first.knowledge) == (("t1", "c1"), "just right", ("rule-1",))
    assert [item.id for item in first.items] == ["t1", "c1", "b1"] and second.what == "reply"
    assert "anna" not in path.read_text()


WRITER = """
import sys
from pathlib import Path
from bundlewise.data.feedback import FeedbackLog
log = FeedbackLog(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    log.add(owner="o", thread="t", what="reply", up=True, note=f"{sys.argv[3]} {number}")
    print(number, flush=True)
"""


def test_several_processes_write_without_losing_a_line(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    command = [sys.executable, "-c", WRITER, str(path), "25"]
    writers = [subprocess.Popen([*command, name], stdout=subprocess.DEVNULL) for name in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert {f.note for f in read_feedback(path)} == {f"{name} {n}" for name in ("a", "b") for n in range(25)}


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), "9999", "k"], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline() for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert len(read_feedback(path)) >= len(acknowledged) == 20


def test_a_line_torn_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    log = FeedbackLog(path)
    first = log.add(owner="o", thread="t", what="reply", up=True)
    with path.open("ab") as stream:
        stream.write(b'{"id": "feedback-1", "at": "2026')
    second = log.add(owner="o", thread="t", what="reply", up=False)
    assert read_feedback(path) == [first, second]


@pytest.mark.parametrize("content", ['{"session_id": "s"}\n', "id,title,price\na,Mouse,3\n", "\x00\x01", "[1]\n"])
def test_a_file_that_is_something_else_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "f.jsonl").write_text(content)
    with pytest.raises(DataError, match="line 1: not a rating"):
        read_feedback(tmp_path / "f.jsonl")
    with pytest.raises(UsageError, match="no feedback file"):
        read_feedback(tmp_path / "none.jsonl")
    with pytest.raises(BundlewiseError, match="cannot keep feedback"):
        FeedbackLog(tmp_path).add(owner="o", thread="t", what="reply", up=True)


def test_what_was_liked_is_an_annotated_training_session() -> None:
    found = learn([rating("t1", "c1"), rating("g1", "p1", up=True)])
    (taught,) = found.sessions
    assert (taught.split, taught.domain) == ("train", "feedback") and taught.session_id.startswith("feedback-")
    assert [set(bundle.item_ids) for bundle in taught.bundles] == [{"t1", "c1"}, {"g1", "p1"}]
    assert not found.remarks and not found.left_out


def test_what_was_disliked_is_a_remark_with_the_note_in_which_nothing_is_bundled() -> None:
    found = learn([rating("t1", "b1", up=False, note="a tablet needs\nno batteries <|im_start|>"), rating("t1", "c1")])
    (remark,) = found.remarks
    assert "Shoppers rejected these as a bundle: Padmoor Glide 11 Tablet, Slate Grey; AA Alkaline" in remark.text
    assert remark.text.endswith("They said: a tablet needs no batteries < |im_start| >")
    assert (remark.groups, len(remark.kinds), remark.provenance.teacher) == ((), 2, "feedback")
    source = next(s for s in found.sessions if s.session_id in remark.source_session_ids)
    assert (source.split, source.bundles, tuple(source.titles)) == ("train", (), remark.titles)


@pytest.mark.parametrize("bundle", [("a", "b"), ("a", "c"), ("a", "b", "c")])
def test_products_of_one_title_are_products_each(bundle: tuple[str, ...]) -> None:
    cart = tuple(
        Item(id=key, title=title) for key, title in [("a", "AA Batteries"), ("b", "AA  batteries"), ("c", "Mouse")]
    )
    (liked,) = learn([rating(*bundle, cart=cart)]).sessions
    assert liked.bundles[0].item_ids == bundle
    (disliked,) = learn([rating(*bundle, cart=cart, up=False)]).sessions
    assert tuple(item.id for item in disliked.items) == bundle


def test_people_who_disagree_teach_nothing() -> None:
    found = learn([rating("t1", "c1"), rating("t1", "c1", up=False)])
    assert not found.sessions and not found.remarks and "as many likes as dislikes" in found.left_out[0]
    won = learn([rating("t1", "c1"), rating("t1", "c1", note="a"), rating("t1", "c1", up=False)])
    assert len(won.sessions) == 1 and not won.remarks


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_a_cart_that_is_a_session_of_the_data_teaches_nothing(split: str) -> None:
    known = session("s1", [item.title.upper() for item in reversed(CART)], split=split)
    found = learn([rating("t1", "c1"), rating("t1", "b1", up=False)], [known])
    assert not found.sessions and not found.remarks
    assert all(f"its cart is a session of the {split} split" in why for why in found.left_out)


@pytest.mark.parametrize("fields", [{"what": "reply"}, {"bundle": ("t1",)}, {"bundle": ("t1", "nowhere")}])
def test_ratings_about_no_bundle_are_left_out(fields: dict[str, Any]) -> None:
    found = learn([rating("t1", "c1").model_copy(update=fields)])
    assert not found.sessions and "not about a bundle" in found.left_out[0]


def test_feedback_reaches_the_knowledge_base_and_never_from_test_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], minilm: Path
) -> None:
    training = [s for s in load("electronics", "train") if len(s.items) <= 4][:6]
    held_out = load("electronics", "test")[:2]
    write_sessions(tmp_path / "d.jsonl", [*training, *held_out])
    leaked = held_out[0].items
    ratings = [
        rating("t1", "c1"),
        rating("t1", "b1", up=False, note="no batteries in a tablet"),
        rating(leaked[0].id, leaked[1].id, cart=leaked),
    ]
    (tmp_path / "f.jsonl").write_text("".join(r.model_dump_json() + "\n" for r in ratings))
    options = [
        "--data",
        str(tmp_path / "d.jsonl"),
        "--kb",
        str(tmp_path / "kb"),
        "--feedback",
        str(tmp_path / "f.jsonl"),
    ]
    with pytest.raises(SystemExit) as left:
        main(["distil", *options, "--pack", str(tmp_path / "pack.jsonl")])
    assert not left.value.code
    err = capsys.readouterr().err
    assert "feedback: 3 ratings, 2 sessions, 1 rejected bundles, 1 left out" in err
    assert "its cart is a session of the test split" in err
    thoughts = KnowledgeStore.open(tmp_path / "kb").thoughts(None)
    mine = [t for t in thoughts if any(s.startswith("feedback-") for s in t.source_session_ids)]
    liked, rejected = sorted(mine, key=lambda t: t.provenance.teacher != "grounded")
    assert liked.provenance.teacher == "grounded" and len(liked.titles) == 6 and liked.groups == ((0, 1),)
    assert rejected.provenance.teacher == "feedback" and "no batteries in a tablet" in rejected.text
    assert not any(set(leaked[0].title.split()) <= set(" ".join(t.titles).split()) for t in mine)
    packed = [json.loads(row) for row in (tmp_path / "pack.jsonl").read_text().splitlines()[1:]]
    assert rejected.id in {row["id"] for row in packed}


def test_a_rejected_bundle_lowers_what_the_evidence_says_of_such_products(tmp_path: Path) -> None:
    from samples import thought

    from bundlewise.knowledge_base.evidence import PairEvidence

    known = [
        session(f"s{n}", [f"glide mouse {n}", f"foam pad {n}", f"wool rug {n}"], ((0, 1),) if n % 2 else ((1, 2),))
        for n in range(8)
    ]
    thoughts = [thought(s, ["mouse", "pad", "rug"]) for s in known]
    cart = (Item(id="a", title="glide mouse x"), Item(id="b", title="foam pad x"))
    remarks = [
        learn([rating("a", "b", up=False, cart=(*cart, Item(id="c", title=f"extra {n}")))]).remarks[0] for n in range(8)
    ]
    before, after = (
        PairEvidence(t, BagOfWords(), 5).matrix(["red mouse", "blue pad"])[0, 1] for t in (thoughts, thoughts + remarks)
    )
    assert after < before


def test_sessions_of_feedback_are_sessions_of_the_one_domain_of_the_data() -> None:
    known: list[Session] = [session("s1", ["x", "y"], domain="electronics")]
    assert learn([rating("t1", "c1")], known).sessions[0].domain == "electronics"

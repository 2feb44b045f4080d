"""A small knowledge base for the tests of `bundlewise kb`: whose texts share words are alike, no model is needed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from samples import BagOfWords, record, session, thought

from bundlewise.cli import main
from bundlewise.domain import Knowledge, KnownSession
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.store import KnowledgeStore

Call = Callable[..., tuple[int, str, str]]

DESK = session("desk", ["Wireless Mouse", "Mechanical Keyboard", "Oat Milk"], ((0, 1),), domain="electronics")
TRIP = session("trip", ["Laptop Sleeve", "Laptop Bag"], ((0, 1),), domain="electronics")
HELD = session("held", ["Wireless Mouse", "Laptop Bag"], ((0, 1),), domain="electronics", split="test")
TOGETHER = record("rule", "Put a mouse and a keyboard together.", gain=0.02)
TWIN = record("rule", "Put the mouse and a keyboard together.", ["desk"], gain=0.01)
APART = record("rule", "Keep a mouse and a keyboard apart.")
PAIR = record(
    "pattern",
    "mouse + keyboard: bundled in 2 of 2 sessions that hold them",
    ["desk", "trip"],
    kinds=("mouse", "keyboard"),
    supporters=("desk", "trip"),
    support=2,
    confidence=1.0,
    lift=2.0,
)
DESK_THOUGHT = thought(DESK, ["wireless mouse", "mechanical keyboard", "oat milk"])
TRIP_THOUGHT = thought(TRIP, ["laptop sleeve", "laptop bag"])
RECORDS = [TOGETHER, TWIN, APART, PAIR, DESK_THOUGHT, TRIP_THOUGHT]
KNOWN = [KnownSession.of(each) for each in (DESK, TRIP, HELD)]


def use_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every name of an embedder mean the bag of words."""
    monkeypatch.setattr(Embedder, "named", staticmethod(lambda spec="minilm": BagOfWords()))


def fill(folder: Path, records: list[Knowledge] = RECORDS) -> Path:
    """Make a knowledge base of these records."""
    KnowledgeStore.create(folder, BagOfWords()).change(Change("distil (grounded)", records, sessions=KNOWN))
    return folder


def caller(capsys: pytest.CaptureFixture[str]) -> Call:
    """Return what runs `bundlewise kb` and returns exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["kb", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call

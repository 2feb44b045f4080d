"""The rows beside the cells: bundles without a language model, and large teachers from a file or an endpoint."""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bundlewise.agents.teacher.ask import messages_of
from bundlewise.agents.teacher.contracts import Proposal, schema_of
from bundlewise.agents.teacher.large import LargeTeacher
from bundlewise.domain import Grouping, Session, Split
from bundlewise.evaluation.scores import read_predictions
from bundlewise.experiment.cells import Cell
from bundlewise.experiment.file import TeacherRow
from bundlewise.experiment.maker import Maker
from bundlewise.experiment.references import EVIDENCE, Reference, References
from bundlewise.experiment.rows import Cost, Row, row_of
from bundlewise.files import fingerprint, made_once
from bundlewise.models.folders import resolve, token_counter
from bundlewise.models.known import SMOLLM2
from bundlewise.pipeline.distil import asking
from bundlewise.progress import progress

PER = 1_000
"""The cost is given for this many sessions."""


def baseline_rows(maker: Maker) -> list[Row]:
    """Return the rows of the baselines, with settings chosen on validation; their answers are cached."""
    kept = maker.cache / "baselines" / f"{maker.inputs.baselines_key}.json"
    rows = made_once(kept, lambda: [[one.name, one.note, one.groups] for one in _baselines(maker)])
    return [
        row_of(name, "baseline", [_grouping(groups)], maker.inputs.scored, note=note) for name, note, groups in rows
    ]


def _baselines(maker: Maker) -> list[Reference]:
    training, references = _annotated(maker, "train"), _references(maker)
    found = [references.whole_session(), references.lexical(), references.embedding(maker.inputs.embedder)]
    return [*found, *([references.nearest(training, maker.inputs.embedder)] if training else [])]


def _references(maker: Maker) -> References:
    return References(_annotated(maker, "validation"), [session.blind() for session in maker.inputs.scored])


def _annotated(maker: Maker, split: Split) -> list[Session]:
    return maker.inputs.annotated(maker.inputs.experiment.target, split)


def evidence_cells(cells: Iterable[Cell]) -> dict[str, Cell]:
    """Return for each teacher the cell whose evidence is in the table, by the name of the row.

    It is the teacher's first cell among those with knowledge from the largest share of the sessions.
    """
    reading = [cell for cell in cells if cell.policy.hints]
    best: dict[str, Cell] = {}
    for cell in reading:
        known = best.setdefault(cell.teacher, cell)
        if (len(cell.domains), cell.ratio) > (len(known.domains), known.ratio):
            best[cell.teacher] = cell
    several = len(best) > 1
    return {f"{EVIDENCE}, teacher {teacher}" if several else EVIDENCE: cell for teacher, cell in best.items()}


def evidence_row(maker: Maker, name: str, cell: Cell) -> Row:
    """Return the row of a cell's evidence, decoded without a student; it is the strongest baseline of the student.

    Raises:
        BundlewiseError: the knowledge base cannot be opened.
    """
    kept = maker.cache / "baselines" / f"{maker.evidence_key(cell)}.json"
    groups = made_once(kept, lambda: _references(maker).pair_classifier(maker.retriever(cell)).groups)
    return row_of(name, "baseline", [_grouping(groups)], maker.inputs.scored)


def _grouping(groups: Sequence[Any]) -> list[Grouping]:
    return [tuple(tuple(group) for group in one) for one in groups]


def teacher_row(maker: Maker, teacher: TeacherRow) -> Row:
    """Return a teacher's row from its file of predictions or from its endpoint; the ledger keeps paid answers.

    Raises:
        UsageError: the file of predictions cannot be read, or the endpoint's name is invalid.
        ModelError: the endpoint cannot be used.
    """
    if teacher.predictions is not None:
        found = read_predictions(Path(teacher.predictions), maker.inputs.scored_or_not)
        groups = [found.get(session.session_id, ()) for session in maker.inputs.scored]
        answers = [json.dumps([[place + 1 for place in group] for group in one]) for one in groups]
        count = token_counter(resolve(SMOLLM2.name))
        read = sum(map(count, (_question(session) for session in maker.inputs.scored)))
        tokens = (read, sum(map(count, answers)))
        note = "predictions from a file, tokens estimated from titles and bundles alone"
    else:
        groups, tokens, note = *_asked(maker, str(teacher.endpoint)), "asked, zero-shot"
    return row_of(
        teacher.name,
        "teacher",
        [groups],
        maker.inputs.scored,
        cost=_cost(maker, teacher, tokens, len(groups)),
        note=note,
    )


def _cost(maker: Maker, teacher: TeacherRow, tokens: tuple[int, int], sessions: int) -> Cost:
    price = maker.payment.price_of(teacher.price or teacher.endpoint or "")
    dollars = round(price.cost(*tokens) / sessions * PER, 6) if price else None
    return Cost(tokens_in=round(tokens[0] / sessions, 1), tokens_out=round(tokens[1] / sessions, 1), dollars=dollars)


def _question(session: Session) -> str:
    messages = messages_of("teacher_propose", schema_of(Proposal), titles=session.blind().titles, patterns=[])
    return "\n".join(message["content"] for message in messages)


def _asked(maker: Maker, endpoint: str) -> tuple[list[Grouping], tuple[int, int]]:
    """Ask a large teacher for the bundles of every scored session; a refused or faulty answer gives no bundles."""
    found = made_once(_kept(maker, endpoint), lambda: _answers(maker, endpoint))
    read, written = found["tokens"]
    return _grouping(found["groups"]), (read, written)


def _kept(maker: Maker, endpoint: str) -> Path:
    ids = [session.session_id for session in maker.inputs.scored]
    key = fingerprint([endpoint, maker.inputs.experiment.asking, maker.inputs.baselines_key, ids])
    return maker.cache / "teachers" / f"{key}.json"


def is_asked(maker: Maker, teacher: TeacherRow) -> bool:
    """Say whether a live teacher's answers to all scored sessions are in the cache."""
    return _kept(maker, str(teacher.endpoint)).is_file()


def _answers(maker: Maker, endpoint: str) -> dict[str, Any]:
    with maker.payment.paying() as (payment, bill), asking(endpoint, payment, bill.tally) as asker:
        groups = _proposed(LargeTeacher(asker), maker.inputs.scored, payment.concurrency)
    # The cost covers all answers, paid now or before.
    return {"groups": groups, "tokens": [bill.tokens_in, bill.tokens_out]}


def _proposed(teacher: LargeTeacher, sessions: Sequence[Session], concurrency: int) -> list[Grouping]:
    with progress("teacher", len(sessions)) as advance, ThreadPoolExecutor(concurrency) as pool:

        def propose(session: Session) -> Grouping:
            groups = teacher.propose(session.blind(), [])
            advance(1)
            return groups or ()

        return list(pool.map(propose, sessions))

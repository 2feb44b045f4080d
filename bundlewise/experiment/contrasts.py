"""The sessions on which the rows of an experiment differ most, with the answer and the knowledge of each row."""

from collections.abc import Mapping, Sequence
from statistics import pvariance

from bundlewise.domain import Knowledge, Prediction, Record, Session
from bundlewise.experiment.grid import PlannedCell
from bundlewise.experiment.maker import Made, Maker
from bundlewise.experiment.rows import Row

COUNT = 10
RECORDS_SHOWN = 4


class NumberedBundle(Record):
    """A bundle by the numbers of its products, counted from 1, and its intent."""

    numbers: tuple[int, ...]
    intent: str = ""


class RecordUsed(Record):
    """A knowledge record that reached an answer, with its score (for a thought: its share in the hints)."""

    kind: str
    score: float
    text: str


class RowAnswer(Record):
    """The answer of one row to a session."""

    name: str
    gjs: float
    bundles: tuple[NumberedBundle, ...]
    knowledge: tuple[RecordUsed, ...] = ()


class Contrast(Record):
    """A session with its annotation and the answer of every row."""

    session_id: str
    titles: tuple[str, ...]
    annotated: tuple[NumberedBundle, ...]
    answers: tuple[RowAnswer, ...]


def contrasts(
    maker: Maker, rows: Sequence[Row], planned: Sequence[PlannedCell], made: Mapping[str, Made]
) -> list[Contrast]:
    """Return the ten sessions on which the cells' GJS varies most; ties stay in their order."""
    cells = [row for row in rows if row.role == "cell"]
    spread = [pvariance(scores) for scores in zip(*(row.by_session for row in cells), strict=True)]
    places = sorted(range(len(spread)), key=lambda place: (-spread[place], place))[:COUNT]
    answers = {row.name: _answers(maker, row, planned, made) for row in cells}
    return [_told(maker.inputs.scored[place], place, cells, answers) for place in places if spread[place] > 0]


def _answers(
    maker: Maker, row: Row, planned: Sequence[PlannedCell], made: Mapping[str, Made]
) -> tuple[list[Prediction], dict[str, Knowledge]]:
    """Return the answers of a row's first seed, and the records of its knowledge base."""
    cell = next(one.cell for one in planned if one.label == row.name and one.cell.key in made)
    return maker.predictions(made[cell.key]), maker.knowledge.records(cell)


def _told(
    session: Session,
    place: int,
    cells: Sequence[Row],
    answers: Mapping[str, tuple[list[Prediction], dict[str, Knowledge]]],
) -> Contrast:
    told = []
    for row in cells:
        predictions, records = answers[row.name]
        prediction = predictions[place]
        used = [(records[use.id], use.score) for use in prediction.knowledge if use.id in records][:RECORDS_SHOWN]
        told.append(
            RowAnswer(
                name=row.name,
                gjs=row.by_session[place],
                bundles=tuple(NumberedBundle(numbers=b.items, intent=b.intent) for b in prediction.bundles),
                knowledge=tuple(RecordUsed(kind=r.kind, score=round(score, 2), text=r.text) for r, score in used),
            )
        )
    truth = zip(session.groups, session.bundles, strict=True)
    annotated = tuple(NumberedBundle(numbers=tuple(n + 1 for n in group), intent=b.intent) for group, b in truth)
    return Contrast(
        session_id=session.session_id, titles=tuple(session.titles), annotated=annotated, answers=tuple(told)
    )

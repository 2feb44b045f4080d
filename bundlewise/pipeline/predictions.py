"""Predictions: run the student graph batch by batch, and write answers to a file that a stopped run continues."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.domain import BlindSession, Prediction, Session
from bundlewise.files import cost_path, fingerprint, is_special, only_process, partial_path, write_json, write_jsonl
from bundlewise.progress import Advance, go_on, progress
from bundlewise.prompts.render import student_fingerprints

if TYPE_CHECKING:
    from bundlewise.graphs.student import StudentContext

GENERATE_BATCH = 32
Answering = Callable[..., list[Prediction]]
"""A function that answers a batch of sessions, and calls `advance` for each session."""
Spread = Callable[..., Iterable[list[Prediction]]]
"""A function that answers batches of sessions on other machines or processes, in their order."""


def answer(sessions: Sequence[BlindSession], context: "StudentContext") -> list[Prediction]:
    """Run the student graph over sessions, batch by batch; an unreadable session gives a failed prediction.

    All callers use the same batches, so the answers are the same to the byte.
    """
    from langchain_core.runnables.config import set_config_context

    from bundlewise.agents.student.compose import unreadable
    from bundlewise.graphs.student import StudentState, build_student_graph

    graph = build_student_graph()
    # By place and not by id: sessions made of titles may have one id.
    found: list[Prediction] = []
    for start in range(0, len(sessions), GENERATE_BATCH):
        go_on()
        batch = sessions[start : start + GENERATE_BATCH]
        reasons = [unreadable(session) for session in batch]
        readable = [session for session, reason in zip(batch, reasons, strict=True) if not reason]
        answers: Iterator[Prediction] = iter(())
        if readable:
            # Runs without the outer graph's settings: otherwise it would store its steps among that graph's threads.
            with set_config_context({}) as alone:
                state = alone.run(lambda asked: graph.invoke(asked, context=context), StudentState(readable))
            answers = iter(state["predictions"])
        found += [_refused(s, reason) if reason else next(answers) for s, reason in zip(batch, reasons, strict=True)]
    return found


def _refused(session: BlindSession, reason: str) -> Prediction:
    """Return the prediction of a session that the student cannot read."""
    return Prediction(session_id=session.session_id, bundles=(), outcome="failed", reason=reason)


def answer_to_file(
    sessions: Sequence[Session], output: Path, key: object, answer: Answering, spread: Spread | None = None
) -> list[Prediction]:
    """Answer sessions batch by batch into a file that appears only when it is complete.

    Finished batches are kept in `.NAME.partial` beside it, and the same call continues after them. `key` is
    everything that determines the answers; a partial file with another key is dropped. `spread`, if given, answers
    in place of this process. A device or FIFO gets all answers at the end, without a partial file.
    """

    def answered(batches: Sequence[Sequence[Session]], advance: Advance) -> Iterator[list[Prediction]]:
        if spread is None:
            yield from (answer(batch, advance=advance) for batch in batches)
            return
        for found in spread(batches):
            advance(len(found))
            yield found

    if is_special(output):
        batches = [sessions[start : start + GENERATE_BATCH] for start in range(0, len(sessions), GENERATE_BATCH)]
        with progress("generate", len(sessions)) as advance:
            found = [prediction for batch in answered(batches, advance) for prediction in batch]
        write_jsonl(output, map(_row, found))
        return found
    with only_process(output):
        return _answer_to_file(sessions, output, fingerprint(key), answered)


def _answer_to_file(
    sessions: Sequence[Session],
    output: Path,
    key: str,
    answered: Callable[[Sequence[Sequence[Session]], Advance], Iterator[list[Prediction]]],
) -> list[Prediction]:
    partial = partial_path(output)
    done = _read_partial(partial, key)
    todo = [session for session in sessions if session.session_id not in done]
    batches = [todo[start : start + GENERATE_BATCH] for start in range(0, len(todo), GENERATE_BATCH)]
    with progress("generate", len(todo)) as advance:
        for found in answered(batches, advance):
            done |= {prediction.session_id: prediction for prediction in found}
            with partial.open("a", encoding="utf-8") as stream:
                stream.writelines(prediction.model_dump_json() + "\n" for prediction in found)
    predictions = [done[session.session_id] for session in sessions]
    # Seconds differ from run to run, so they go into a file of their own: predictions stay the same to the byte.
    write_jsonl(output, map(_row, predictions))
    write_json(cost_path(output), {**cost_of(predictions), "prompts": student_fingerprints()})
    partial.unlink(missing_ok=True)
    return predictions


def _row(prediction: Prediction) -> dict[str, Any]:
    return prediction.model_dump(mode="json", exclude={"seconds"})


def cost_of(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the sum of tokens and seconds over all predictions."""
    return {
        "sessions": len(predictions),
        "tokens_in": sum(prediction.tokens_in for prediction in predictions),
        "tokens_out": sum(prediction.tokens_out for prediction in predictions),
        "seconds": round(sum(prediction.seconds for prediction in predictions), 2),
    }


def _read_partial(partial: Path, key: str) -> dict[str, Prediction]:
    """Return the complete batches in a partial file with this key; start a new file if the key differs.

    An incomplete batch is answered again as a whole, so that batches, and so the bytes, stay the same.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({"key": key})
    # A kill may have cut the last row within a character; that row is dropped anyway.
    lines = partial.read_text(encoding="utf-8", errors="replace").split("\n") if partial.is_file() else []
    rows = lines[1:-1] if lines and lines[0] == head else []
    rows = rows[: len(rows) // GENERATE_BATCH * GENERATE_BATCH]
    kept = [Prediction.model_validate_json(row) for row in rows]
    partial.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return {prediction.session_id: prediction for prediction in kept}

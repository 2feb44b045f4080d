"""bundlewise distil: from training sessions to a knowledge base."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundlewise.commands import outputs
from bundlewise.commands.options import DATA, EMBEDDERS, FILE, reads_data
from bundlewise.commands.outputs import force_option, guard_knowledge
from bundlewise.errors import UsageError
from bundlewise.models.endpoints import is_served
from bundlewise.terminal import one_line

if TYPE_CHECKING:
    from bundlewise.agents.teacher.grounding import RefusedKnowledge
    from bundlewise.domain import Knowledge, Session
    from bundlewise.pipeline.distil import Distilled

SHOWN = 20
"""Most reasons printed."""


@click.command()
@reads_data(multiple=True, help=f"{DATA} Repeat it for more domains.")
@click.option("--feedback", type=FILE, help="File of shoppers' ratings, used as further training sessions.")
@click.option("--kb", help="Knowledge base to write to: a folder or a Chroma server's URL.")
@click.option("--embedder", help=f"Embedder of a new KB: {EMBEDDERS}.")
@click.option(
    "--teacher", default="grounded", show_default=True, help="Teacher: grounded, recorded:FILE or openai:MODEL[@URL]."
)
@click.option("--pack", type=FILE, help="Also write the records to this file.")
@click.option("--formats", help="Knowledge to make: any of patterns,rules,thoughts.  [default: all]")
@click.option(
    "--sampler",
    default="random",
    show_default=True,
    help="How sessions are chosen: random, length, diversity or difficulty.",
)
@click.option("--ratio", default=1.0, show_default=True, help="Share of the training sessions to read.")
@click.option("--seed", default=0, show_default=True, help="Seed of the choice of sessions.")
@click.option("--dry-run", "--status", "dry_run", is_flag=True, help="Print the plan; write and pay nothing.")
@click.option("--max-cost", type=click.FloatRange(min=0), help="Stop before more US dollars than this are spent.")
@click.option("--max-tokens", type=click.IntRange(min=0), help="Stop before more tokens than this are spent.")
@click.option("--ledger", type=FILE, help="File of paid calls.  [default: bundlewise-calls.sqlite]")
@click.option("--prices", type=FILE, help="Price table.  [default: BUNDLEWISE_PRICES, or the built-in table]")
@click.option("--temperature", type=click.FloatRange(0, 2), help="Sampling temperature.  [default: 0]")
@click.option("--effort", help="Reasoning effort, for models that reason: low, medium, high.")
@click.option("--concurrency", type=click.IntRange(1, 256), help="Calls at the same time.  [default: 8]")
@click.option("--rpm", type=click.IntRange(min=1), help="Most requests per minute.")
@click.option("--tpm", type=click.IntRange(min=1), help="Most tokens per minute.")
@click.option("--timeout", type=click.FloatRange(min=0.1), help="Most seconds to wait for one answer.  [default: 120]")
@click.option("--patience", type=click.FloatRange(min=0), help="Most seconds to retry one call.  [default: 600]")
@click.option("--max-output", type=click.IntRange(min=16), help="Most tokens of one answer.  [default: 2000]")
@click.option("--repairs", type=click.IntRange(min=0), help="Most retries after a faulty answer.  [default: 2]")
@click.option(
    "--max-failed",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Largest share of a stage that may fail; if more fails, KB stays as it is.  [default: 0.5]",
)
@click.option("--retry-failed", is_flag=True, default=None, help="Ask again where the ledger holds an unusable answer.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="Only local works here.")
@click.option("--log-json", type=FILE, help="Append every event to this file, as JSON lines.")
@click.option("--draw", type=FILE, help="Write the teacher graph to this file as Mermaid text, and stop.")
@force_option
@click.option("--json", "as_json", is_flag=True, help="Print the counts, or the plan, as JSON.")
def command(
    data: tuple[str, ...],
    feedback: Path | None,
    kb: str | None,
    embedder: str | None,
    teacher: str,
    pack: Path | None,
    formats: str | None,
    sampler: str,
    ratio: float,
    seed: int,
    dry_run: bool,
    engine: str,
    log_json: Path | None,
    draw: Path | None,
    force: bool,
    as_json: bool,
    **paying: Any,
) -> None:
    """Let a teacher distil knowledge from the training sessions of DATA.

    The new knowledge replaces what KB holds about the same domains; other domains stay. The grounded teacher is built
    in: it computes knowledge from the sessions, without a language model and without a key. A recorded teacher reads
    rules and thoughts that a large language model wrote about these sessions; FILE may be - (stdin) or packed (.gz).
    openai:MODEL asks a large language model at OPENAI_BASE_URL or at the URL given, with the key in OPENAI_API_KEY.
    The ledger keeps every answer, so no answer is paid for twice.
    """
    if draw is not None:
        outputs.guard_file(draw, outputs.graph, force)
        _draw(draw)
        return
    if engine == "ray":
        raise UsageError(
            "distil cannot run on a cluster: all paid calls go through one ledger, and the other teachers need all "
            "sessions at once; leave out --engine ray, and raise --concurrency for more calls at the same time"
        )
    if not data or (kb is None and not dry_run):
        raise UsageError(f"no {'data' if not data else 'knowledge base'} given; add --{'data' if not data else 'kb'}")
    outputs.note(paying["ledger"] or Path("bundlewise-calls.sqlite"))
    outputs.guard_file(pack, outputs.pack, force)
    outputs.guard_file(log_json, outputs.events, force)
    if kb is not None:
        guard_knowledge(kb, force)
    from bundlewise.data.sessions import load_all
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.knowledge_base.languages import language_note
    from bundlewise.pipeline.distil import Payment, dials_of, plan, run_teacher
    from bundlewise.pipeline.knowledge_base import distil
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    dials = dials_of(sampler, ratio, seed, formats)
    given = {name: value for name, value in paying.items() if value is not None}
    if given and not is_served(teacher):
        option = next(iter(given)).replace("_", "-")
        raise UsageError(f"--{option} is for paid teachers only, and {teacher} costs nothing; leave it out")
    payment = Payment(**given)
    sessions = load_all(data)
    sessions, remarks = _with_feedback(sessions, feedback)
    vectors = Embedder.named(embedder) if embedder else None
    if (kb is None or not Path(kb).exists()) and (
        said := language_note(embedder or "minilm", [title for session in sessions for title in session.titles])
    ):
        click.echo(f"note: {said}", err=True)
    if dry_run and is_served(teacher):
        _say_plan(plan(sessions, teacher, embedder=vectors, dials=dials, payment=payment), as_json)
        return
    settings: dict[str, Any] = {"embedder": vectors, "dials": dials, "payment": payment}
    settings |= {"log": log_json, "remarks": remarks}
    found = (
        run_teacher(sessions, teacher, None, **settings)
        if dry_run
        else distil(sessions, teacher, str(kb), pack=pack, **settings).run
    )
    _say(found, teacher, as_json)
    if dry_run:
        click.echo("a dry run: nothing was written", err=True)
    elif not as_json:
        click.echo(f"knowledge base in {kb}; next: bundlewise finetune --data {data[0]} --kb {kb} -o adapter", err=True)


def _with_feedback(sessions: "list[Session]", path: Path | None) -> "tuple[list[Session], list[Knowledge]]":
    """Return the sessions with those made from shoppers' ratings, and remarks on the bundles that shoppers rejected."""
    if path is None:
        return sessions, []
    from bundlewise.data.feedback import learn, read_feedback

    ratings = read_feedback(path)
    learnt = learn(ratings, sessions)
    taught = f"{len(learnt.sessions)} sessions, {len(learnt.remarks)} rejected bundles"
    click.echo(f"feedback: {len(ratings)} ratings, {taught}, {len(learnt.left_out)} left out", err=True)
    for reason in learnt.left_out[:5]:
        click.echo(f"  left out {reason}", err=True)
    return [*sessions, *learnt.sessions], learnt.remarks


def _draw(path: Path) -> None:
    from bundlewise.files import write_text
    from bundlewise.graphs.teacher import build_teacher_graph

    write_text(path, build_teacher_graph().get_graph().draw_mermaid().rstrip() + outputs.GRAPH_MARK)
    click.echo(path)


def _say_plan(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    from bundlewise.pipeline.watch import plan_lines

    click.echo(json.dumps({"plan": rows}) if as_json else "\n".join(plan_lines(rows)))


PARTS = {"sentence": "sentences left out of thoughts", "kind": "kinds gave way to their titles"}


def _counts(refused: "Sequence[RefusedKnowledge]") -> dict[str, int]:
    """Count what was refused: whole records, sentences left out of thoughts, and kinds replaced by their titles."""
    counts = Counter(refusal.what for refusal in refused)
    return {"refused": counts["record"], "left_out": counts["sentence"], "kinds_replaced": counts["kind"]}


def _say_refused(refused: "Sequence[RefusedKnowledge]") -> None:
    """Print why records were refused, the most frequent reason first, each with the first text that it applies to."""
    whole = [refusal for refusal in refused if refusal.what == "record"]
    reasons, texts = Counter(refusal.reason for refusal in whole), {r.reason: r.text for r in reversed(whole)}
    for reason, number in reasons.most_common(SHOWN):
        click.echo(one_line(f"{number:6,} refused: {reason}: {texts[reason]}")[:300], err=True)
    if len(reasons) > SHOWN:
        click.echo(f"{len(whole):6,} refused in all; --json lists them", err=True)
    for what, told in PARTS.items():
        if parts := [refusal for refusal in refused if refusal.what == what]:
            click.echo(one_line(f"{len(parts):6,} {told}, as {parts[0].text!r}: {parts[0].reason}")[:300], err=True)


def _say(found: "Distilled", teacher: str, as_json: bool) -> None:
    from bundlewise.agents.teacher.failures import lines_of
    from bundlewise.models.prices import in_dollars

    counts = Counter((record.kind, record.status) for record in found.records)
    if as_json:
        name = found.records[0].provenance.teacher if found.records else teacher
        rows = [{"kind": kind, "status": status, "records": n} for (kind, status), n in sorted(counts.items())]
        told = {"teacher": name, "records": rows, **_counts(found.refused), "stages": found.stages}
        told |= {"refusals": [vars(refusal) for refusal in found.refused]}
        told |= {"failures": found.failures, "cut": found.cut}
        click.echo(json.dumps(told))
        return
    for (kind, status), number in sorted(counts.items()):
        click.echo(f"{number:6,} {kind}s{'' if status == 'active' else f' ({status})'}")
    if untested := sum(record.kind == "rule" and record.gain is None for record in found.records):
        click.echo(f"{untested:6,} rules untested: no condition, or no validation session meets it", err=True)
    _say_refused(found.refused)
    for what in found.cut:
        click.echo(f"patterns: {what}", err=True)
    for row in found.stages:
        if row["calls"] or row["cached"] or row["failed"]:
            paid = f"{row['calls']:,} calls paid ({in_dollars(row['cost'])}), {row['cached']:,} from the ledger"
            click.echo(f"{row['stage']:>10}: {paid}, {row['failed']:,} failed", err=True)
            for why in lines_of(found.failures.get(row["stage"], ())):
                click.echo(f"{'':>12}{why}", err=True)

"""bundlewise kb explain: show the knowledge that a student gets for a session, and why."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bundlewise.commands import data as data_command
from bundlewise.commands.arguments import TakesTexts
from bundlewise.commands.kb_shared import folded, json_option, kb_argument, place_of, print_json
from bundlewise.commands.options import dials_of, policy_options, reads_data, student_option
from bundlewise.domain import KNOWLEDGE_KINDS, Item, Retrieved, Session
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.policy import Policy
from bundlewise.titles import titles_fault

if TYPE_CHECKING:
    from bundlewise.knowledge_base.retrieval import Explanation
    from bundlewise.knowledge_base.selection import Verdict

QUOTAS = {"patterns": 2, "rules": 3, "thoughts": 4, "hints": 0}
BEYOND = 3
REFUSED = 2
"""Candidates shown that the quota left out (BEYOND), and that were not ranked (REFUSED)."""


@click.command(cls=TakesTexts)
@kb_argument
@click.option("--items", is_flag=True, help="The arguments after KB are the titles of one session.")
@click.argument("titles", nargs=-1, metavar="[TITLE]...")
@reads_data()
@click.option("--session", metavar="ID", help="Session of DATA.  [default: the first]")
@policy_options
@student_option
@json_option
def explain(
    kb: str,
    items: bool,
    titles: tuple[str, ...],
    data: str | None,
    session: str | None,
    student: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Show the knowledge of KB that a student gets for a session, and why.

    bundlewise kb explain KB --items "title" "title" ...

    Put titles that begin with - after all options and after --.

    For each kind of record, it shows the records that are kept, the parts of their scores, and why the
    next records are dropped. The default quotas are 2 patterns, 3 rules, 4 thoughts and 0 hints; hints
    take longer to find. A --budget counts tokens of the student.
    """
    asked = _session(items, titles, data, session)
    policy = Policy.of(**(QUOTAS | dials_of(options, kb)))
    place_of(kb)
    from bundlewise.models.folders import resolve
    from bundlewise.pipeline.knowledge import open_retriever

    retriever = open_retriever(kb, policy, resolve(student) if policy.budget is not None else None)
    seen = [asked.blind()]
    explanation, given = retriever.explain(seen)[0], retriever.retrieve(seen)[0]
    if as_json:
        hints = [{"products": [a + 1, b + 1], "hint": word} for (a, b), word in given.hints.items()]
        print_json(explanation.model_dump(mode="json") | {"hints": hints})
        return
    _print_session(asked, explanation)
    for kind in KNOWLEDGE_KINDS:
        verdicts = [verdict for verdict in explanation.verdicts if verdict.record.kind == kind]
        _print_kind(kind, verdicts, policy.quota(kind))
    _print_hints(given)


def _session(items: bool, titles: Sequence[str], data: str | None, session: str | None) -> Session:
    if items == (data is not None):
        raise UsageError("give either --items with titles, or --data with a file or starter name")
    if data is not None:
        if titles:
            raise UsageError(f"unexpected argument {titles[0]!r}; titles go with --items")
        return data_command.find(data, session)
    if session is not None:
        raise UsageError("--session needs --data")
    if not titles:
        raise UsageError("a title is missing; give each product a title, in quotes")
    if fault := titles_fault(titles):
        raise UsageError(fault)
    products = tuple(Item(id=str(number), title=title) for number, title in enumerate(titles, 1))
    return Session(session_id="given", items=products)


def _print_session(session: Session, explanation: "Explanation") -> None:
    click.echo(folded(f"{session.session_id} ({session.domain or 'no domain'}, {session.split})"))
    for number, title in enumerate(session.titles, 1):
        click.echo(folded(f"{number}. {title}", 2))
    click.echo(folded(f"asked: {explanation.query}"))


def _print_kind(kind: str, verdicts: Sequence["Verdict"], quota: int) -> None:
    """Print the records within the quota, kept or dropped, and the first few of the others."""
    if not quota:
        return
    admitted = [verdict for verdict in verdicts if 0 < verdict.rank <= quota]
    beyond = [verdict for verdict in verdicts if verdict.rank > quota]
    refused = sorted((verdict for verdict in verdicts if not verdict.rank), key=lambda v: (-v.score, v.record.id))
    shown = [*admitted, *beyond[:BEYOND], *refused[:REFUSED]]
    click.echo(f"\n{kind}s: {sum(verdict.kept for verdict in verdicts)} of at most {quota}")
    for verdict in shown:
        _print_verdict(verdict)
    if len(shown) < len(verdicts):
        click.echo(f"  and {len(verdicts) - len(shown)} more candidates (--json)")


def _print_verdict(verdict: "Verdict") -> None:
    parts = " + ".join(f"{name} {value:.3f}" for name, value in verdict.parts.items())
    made_of = f" = {parts}" if "score" not in verdict.parts else ""
    fate = ("kept" if verdict.kept else "dropped") + (" untested" if verdict.record.is_untested else "")
    click.echo(folded(f"{verdict.rank or '-'} {fate} {verdict.score:.3f}{made_of}  {verdict.record.id}", 2))
    click.echo(folded(verdict.why, 6))
    click.echo(folded(verdict.record.text, 6))


def _print_hints(given: Retrieved) -> None:
    if given.hints:
        pairs = ", ".join(f"{a + 1}+{b + 1} {word}" for (a, b), word in given.hints.items())
        click.echo("\n" + folded(f"hints, how often such kinds go together: {pairs}"))
        for record, weight in given.evidence:
            click.echo(folded(f"{weight:.2f} of the weight: {record.id}: {record.text}", 2))

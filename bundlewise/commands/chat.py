"""bundlewise chat: the bundle assistant in the terminal, or line by line from a pipe."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundlewise.commands.options import (
    FILE,
    calibrate_option,
    dials_of,
    knowledge_option,
    policy_options,
    student_option,
)
from bundlewise.terminal import note

if TYPE_CHECKING:
    from bundlewise.agents.assistant.conversation import Event
    from bundlewise.pipeline.assistant import Assistant, Events

THREADS = "bundlewise-threads.sqlite"
FEEDBACK = Path("bundlewise-feedback.jsonl")
OWNER = "terminal"
RATINGS = ("/good", "/bad")
LEAVE = frozenset({"quit", "exit", "bye", ":q"})


@click.command()
@knowledge_option
@click.option("--adapter", type=click.Path(path_type=Path, file_okay=False), help="A tuned student's adapter.")
@student_option
@calibrate_option
@policy_options
@click.option(
    "--catalogue", default="electronics", show_default=True, help="CSV, Parquet, JSON lines, or a starter domain."
)
@click.option("--threads", default=THREADS, show_default=True, help="File or Postgres URL that keeps conversations.")
@click.option("--thread", default="main", show_default=True, help="The conversation to go on with, or a new one.")
@click.option("--chat-model", help="openai:NAME[@URL], a chat model that understands what you say.")
@click.option("--feedback", type=FILE, default=FEEDBACK, show_default=True, help="File for your ratings.")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines.")
def command(
    kb: str | None,
    adapter: Path | None,
    student: str,
    calibrate: str | None,
    catalogue: str,
    threads: str,
    thread: str,
    chat_model: str | None,
    feedback: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Talk about a cart: find products, bundle them, ask why.

    Say help for what is understood; /good 1 and /bad 1 why rate a bundle; Ctrl-D or quit leaves. The conversation is
    kept: the same command goes on with it. From a pipe, every line is a message.
    """
    given = dials_of(options, kb)
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    from bundlewise.graphs.threads import config_for

    config_for(OWNER, thread)  # A name that is none is refused before anything is opened.
    from bundlewise.errors import BundlewiseError, UsageError
    from bundlewise.knowledge_base.embedding import language_note
    from bundlewise.pipeline.assistant import Assistant
    from bundlewise.pipeline.student import Student

    live = Student.open(kb=kb, adapter=adapter, student=student, dials=given, calibrate=calibrate, note=note)
    with Assistant.open(live, catalogue, threads, chat_model, feedback=feedback) as assistant:
        show = _json if as_json else _show
        titles = [item.title for item in assistant.finder.products]
        if said := language_note("minilm", titles, "products are found by their words"):
            note(f"note: {said}")
        if sys.stdin.isatty():
            note(f"{len(assistant.finder.products):,} products; thread {thread}; say help, or Ctrl-D to leave")
        try:
            with closing(assistant.resume(thread, OWNER)) as events:
                show(events)
        except UsageError:  # A thread that is new has nothing to finish.
            pass
        except BundlewiseError as error:  # It failed before, or what it needs is not there: the next message goes on.
            note(f"the last answer could not be finished: {error}")
        for said in _messages():
            # Stopped, a turn must end before the place of its thread is closed.
            with closing(_answers(assistant, thread, said)) as events:
                show(events)


def _answers(assistant: "Assistant", thread: str, said: str) -> "Events":
    from bundlewise.agents.assistant.conversation import DoneEvent, TextEvent
    from bundlewise.errors import UsageError

    try:
        if said.startswith("/"):
            yield TextEvent(text=_rate(assistant, thread, said))
            yield DoneEvent()
        else:
            yield from assistant.send(thread, said, owner=OWNER)
    except UsageError as error:  # A slip in one line ends no conversation.
        yield TextEvent(text=str(error))
        yield DoneEvent()


def _rate(assistant: "Assistant", thread: str, said: str) -> str:
    word, *rest = said.split(maxsplit=2)
    if word not in RATINGS:
        return f"There is no {word[:40]}; there are {' and '.join(RATINGS)}, and quit to leave."
    number = int(rest[0]) if rest and rest[0].isdecimal() else None
    note = " ".join(rest[1:] if number is not None else rest)
    assistant.rate(thread, OWNER, number, up=word == "/good", note=note)
    return f"Thank you, kept: {'bundle ' + str(number) if number else 'the reply'} is {word[1:]}."


def _messages() -> Iterator[str]:
    """Yield what is typed, or the lines of a pipe, until the end or a word of leave."""
    asking = sys.stdin.isatty()
    if asking:
        import readline  # noqa: F401  # Arrows and history at the prompt.
    while True:
        try:
            row = input("> ") if asking else sys.stdin.readline()
        except EOFError:
            click.echo()
            return
        except UnicodeError as error:
            from bundlewise.errors import DataError

            fault = f"what is said is not {sys.stdin.encoding} ({error})"
            raise DataError(f"{fault}; say it in that encoding, or set PYTHONIOENCODING") from error
        if not asking and not row:
            return
        said = row.strip()
        if said.lower() in LEAVE:
            return
        if said:
            yield said


def _json(events: "Iterator[Event]") -> None:
    for event in events:
        click.echo(event.model_dump_json())
        sys.stdout.flush()


def _show(events: "Iterator[Event]") -> None:
    """Show the events of a reply as they come, as text and small cards."""
    from bundlewise.agents.assistant.wording import lines_of

    wrote = False
    for event in events:
        if event.type == "text":
            click.echo(event.text if wrote else event.text.lstrip(), nl=False)
            wrote = True
            continue
        if wrote:
            click.echo()
        wrote = False
        for row in lines_of(event) if event.type != "done" else ():
            click.echo(f"  {row}")
        sys.stdout.flush()

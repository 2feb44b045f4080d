"""bundlewise chat: the bundle assistant in the terminal, or line by line from a pipe."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundlewise.commands.options import (
    FILE,
    answer_options,
    answers_of,
    calibrate_option,
    dials_of,
    knowledge_option,
    policy_options,
    shop_options,
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
@click.option("--adapter", type=click.Path(path_type=Path, file_okay=False), help="Adapter folder of a tuned student.")
@student_option
@calibrate_option
@policy_options
@answer_options
@shop_options
@click.option("--threads", default=THREADS, show_default=True, help="File or Postgres URL that keeps conversations.")
@click.option("--thread", default="main", show_default=True, help="Name of the conversation to continue or begin.")
@click.option("--chat-model", help="Chat model that interprets your messages: openai:NAME[@URL].")
@click.option("--feedback", type=FILE, default=FEEDBACK, show_default=True, help="File for your ratings.")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines.")
def command(
    kb: str | None,
    adapter: Path | None,
    student: str,
    calibrate: str | None,
    catalogue: str,
    phrases: Path | None,
    currency: str,
    threads: str,
    thread: str,
    chat_model: str | None,
    feedback: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Talk about a cart: find products, bundle them, ask why.

    Type help to see what the assistant understands. /good 1 rates bundle 1 as good, /bad 1 REASON rates it as bad.
    Ctrl-D or quit ends the program. The conversation is saved, and the same command continues it. Each line that
    comes from a pipe is one message.
    """
    given, answering = dials_of(options, kb), answers_of(options)
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    from bundlewise.graphs.threads import config_for

    config_for(OWNER, thread)  # An invalid name is refused before anything is opened.
    from bundlewise.errors import BundlewiseError, UsageError
    from bundlewise.knowledge_base.languages import language_note
    from bundlewise.pipeline.assistant import Assistant
    from bundlewise.pipeline.student import Student

    live = Student.open(
        kb=kb, adapter=adapter, student=student, dials=given, answering=answering, calibrate=calibrate, note=note
    )
    with Assistant.open(
        live, catalogue, threads, chat_model, feedback=feedback, phrases=phrases, currency=currency
    ) as assistant:
        show = _json if as_json else _show
        titles = [item.title for item in assistant.finder.products]
        if said := language_note("minilm", titles, "products are found by their words"):
            note(f"note: {said}")
        if sys.stdin.isatty():
            note(f"{len(assistant.finder.products):,} products; thread {thread}; type help for help, Ctrl-D to leave")
        try:
            with closing(assistant.resume(thread, OWNER)) as events:
                show(events)
        except UsageError:  # A new thread has no turn to finish.
            pass
        except BundlewiseError as error:  # The next message can still succeed.
            note(f"the last answer could not be finished: {error}")
        for said in _messages():
            # When the program stops, the turn must end before the store of threads is closed.
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
    except UsageError as error:  # A mistake in one message must not end the conversation.
        yield TextEvent(text=str(error))
        yield DoneEvent()


def _rate(assistant: "Assistant", thread: str, said: str) -> str:
    word, *rest = said.split(maxsplit=2)
    if word not in RATINGS:
        return f"Unknown command {word[:40]}; type {' or '.join(RATINGS)}, or quit to leave."
    number = int(rest[0]) if rest and rest[0].isdecimal() else None
    note = " ".join(rest[1:] if number is not None else rest)
    assistant.rate(thread, OWNER, number, up=word == "/good", note=note)
    return f"Thank you. Saved: {'bundle ' + str(number) if number else 'the reply'} is {word[1:]}."


def _messages() -> Iterator[str]:
    """Yield typed messages, or the lines of a pipe, until the input ends or a line is a word of LEAVE."""
    asking = sys.stdin.isatty()
    if asking:
        import readline  # noqa: F401  # It gives the prompt arrow keys and a history.
    while True:
        try:
            row = input("> ") if asking else sys.stdin.readline()
        except EOFError:
            click.echo()
            return
        except UnicodeError as error:
            from bundlewise.errors import DataError

            fault = f"the input is not {sys.stdin.encoding} ({error})"
            raise DataError(f"{fault}; send it in that encoding, or set PYTHONIOENCODING") from error
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
    """Print the events of a reply as they come, as text and indented lines."""
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

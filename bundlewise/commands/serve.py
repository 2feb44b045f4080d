"""bundlewise serve: serve the student over HTTP."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from bundlewise.commands.options import (
    FILE,
    answer_options,
    answers_of,
    calibrate_option,
    dials_of,
    knowledge_option,
    policy_options,
    reads_data,
    shop_options,
    student_option,
)
from bundlewise.terminal import note


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--adapter", type=click.Path(path_type=Path, file_okay=False), help="Adapter folder of a tuned student.")
@knowledge_option
@policy_options
@answer_options
@student_option
@calibrate_option
@shop_options
@click.option(
    "--threads",
    default="bundlewise-threads.sqlite",
    show_default=True,
    help="File or Postgres URL that keeps conversations.",
)
@click.option("--chat-model", help="Chat model that interprets shoppers' messages: openai:NAME[@URL].")
@click.option(
    "--feedback",
    type=FILE,
    default=Path("bundlewise-feedback.jsonl"),
    show_default=True,
    help="File for ratings.",
)
@reads_data(default="electronics", show_default=True, help="Sessions of the page's prompt playground.")
@click.option(
    "--keys",
    type=FILE,
    help="File of bearer keys, one per line; BUNDLEWISE_API_KEYS adds keys, separated by commas.",
)
@click.option("--insecure-no-keys", is_flag=True, help="Let other machines use the server without a key.")
@click.option("--rate", type=click.FloatRange(min=0), help="Most sessions and messages per minute of each client.")
@click.option("--burst", type=click.IntRange(min=1), help="Most sessions and messages that a client may send at once.")
@click.option("--concurrent", type=click.IntRange(min=1), help="Most requests at the same time.")
@click.option("--waiting", type=click.IntRange(min=1), help="Most sessions that may wait for the student.")
@click.option("--body", type=click.IntRange(min=1), help="Most bytes of a request's body.")
def command(
    host: str,
    port: int,
    adapter: Path | None,
    kb: str | None,
    student: str,
    calibrate: str | None,
    catalogue: str,
    phrases: Path | None,
    currency: str,
    threads: str,
    chat_model: str | None,
    feedback: Path,
    data: str,
    keys: Path | None,
    insecure_no_keys: bool,
    **options: Any,
) -> None:
    """Serve the student over HTTP.

    The server has a web page at /, bundles at /v1/bundles, chat for OpenAI's clients at /v1/chat/completions, and the
    assistant under /api. docs/api.md describes clients, limits and answers.
    """
    from bundlewise.server.keys import Keys
    from bundlewise.server.limits import ServerLimits
    from bundlewise.server.serve import LOCAL, is_loopback, refuse_open, refuse_taken, serve
    from bundlewise.settings import quiet_libraries

    given, answering = dials_of(options, kb), answers_of(options)
    limits = ServerLimits(**{name: value for name, value in options.items() if value is not None})
    known = Keys.read(keys)
    refuse_open(host, bool(known), insecure_no_keys)
    refuse_taken(host, port)
    quiet_libraries()
    from bundlewise.data.sessions import load
    from bundlewise.pipeline.assistant import Assistant
    from bundlewise.pipeline.student import Student
    from bundlewise.prompts.library import current
    from bundlewise.server.app import create_app
    from bundlewise.workbench.playground import Playground

    live = Student.open(
        kb=kb, adapter=adapter, student=student, dials=given, answering=answering, calibrate=calibrate, note=note
    )
    # Without keys, a web page of any other host name could use the server through the user's browser.
    hosts = None if known or not is_loopback(host) else LOCAL | {host}
    shop: dict[str, Any] = {"catalogue": catalogue, "phrases": phrases, "currency": currency}
    assistant = partial(Assistant.open, threads=threads, chat_model=chat_model, feedback=feedback, **shop)
    # The playground runs templates and writes files, so it is open only to local users and to holders of a key.
    playground = Playground(live, load(data), current().folder) if known or is_loopback(host) else None
    app = create_app(live, keys=known, limits=limits, hosts=hosts, assistant=assistant, playground=playground)
    click.echo(f"{'keys' if known else 'no key'} asked for; Ctrl-C stops", err=True)
    serve(app, host, port, limits)

"""bundlewise mcp: serve the student as tools for other models, over MCP on stdin and stdout."""

from pathlib import Path
from typing import Any

import click

from bundlewise.commands.options import (
    answer_options,
    answers_of,
    calibrate_option,
    dials_of,
    knowledge_option,
    policy_options,
    student_option,
)
from bundlewise.terminal import note


@click.command()
@click.option("--adapter", type=click.Path(path_type=Path, file_okay=False), help="Adapter folder of a tuned student.")
@knowledge_option
@policy_options
@answer_options
@student_option
@calibrate_option
def command(adapter: Path | None, kb: str | None, student: str, calibrate: str | None, **options: Any) -> None:
    """Serve the tools find_bundles, explain_bundle and search_knowledge to an MCP client.

    The client starts this command; docs/api.md shows how to configure clients.
    """
    from bundlewise.settings import quiet_libraries

    given, answering = dials_of(options, kb), answers_of(options)
    quiet_libraries()
    from bundlewise.pipeline.student import Student
    from bundlewise.server.mcp_tools import serve_tools
    from bundlewise.signals import signals_end

    live = Student.open(
        kb=kb, adapter=adapter, student=student, dials=given, answering=answering, calibrate=calibrate, note=note
    )
    # Otherwise the process would wait for its thread that reads stdin until the client closes stdin.
    signals_end()
    serve_tools(live)

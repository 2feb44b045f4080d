"""bundlewise demo: the whole chain on a starter domain."""

import sys
from pathlib import Path

import click

from bundlewise.commands.outputs import force_option, guard_folder


@click.command()
@click.option(
    "--domain", type=click.Choice(["electronics", "clothing", "grocery"]), default="electronics", show_default=True
)
@click.option("--runs", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"), show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Tune on this many training sessions.")
@click.option("--seed", default=0, show_default=True, help="Determines the sessions and their order.")
@click.option("--fresh", is_flag=True, help="Start anew instead of reading finished parts back.")
@force_option
def command(domain: str, runs: Path, limit: int | None, seed: int, fresh: bool, force: bool) -> None:
    """Distil, tune, answer and score on a starter domain, and write a report to look at.

    Stopped, the same command goes on; run again, it reads finished parts back.
    """
    import shutil

    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    from bundlewise.demo import Demo, DemoConfig
    from bundlewise.files import only_process
    from bundlewise.report import terminal_table, verdicts, write_report

    config = DemoConfig(domain=domain, seed=seed, limit=limit or DemoConfig.limit)
    folder = runs / config.run_id
    guard_folder(folder, ("kb-*",), force)
    with only_process(folder):
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        demo = Demo(config, folder)
        demo.run()
        report = write_report(demo, demo.records())
    click.echo(terminal_table(demo.entries))
    click.echo("\n" + "\n".join(verdicts(demo.entries)))
    click.echo(f"\nreport: {report}")
    program = Path(sys.argv[0])
    command_name = program if program.name == "bundlewise" else f"{sys.executable} -m bundlewise"
    click.echo(f"try next: {command_name} generate {demo.serving_options()}")

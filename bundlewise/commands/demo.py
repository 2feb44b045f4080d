"""bundlewise demo: the whole chain on a starter domain, as the experiment `demo`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundlewise.commands import experiment as experiments
from bundlewise.commands.outputs import force_option, guard_folder
from bundlewise.terminal import note

if TYPE_CHECKING:
    from bundlewise.experiment.run import Run

UNCHANGED: dict[str, Any] = {"packs": (), "teachers": (), "split": None, "limit": None}


@click.command()
@click.option(
    "--domain",
    type=click.Choice(["electronics", "clothing", "grocery"]),
    default="electronics",
    show_default=True,
    help="Starter domain.",
)
@click.option("-o", "--output", type=experiments.FOLDER, help="Folder of the run.  [default: experiments/demo-DOMAIN]")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a dial for all cells, such as tuned=40."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all random choices.")
@force_option
def command(domain: str, output: Path | None, settings: tuple[str, ...], seed: int, force: bool) -> None:
    """Distil, tune, answer and score on a starter domain, and write a report.

    This runs the experiment `demo`; `bundlewise experiment run demo` has more options. If it is stopped, the same
    command continues it.
    """
    from bundlewise.experiment.run import BEGUN, Run
    from bundlewise.experiment.workers import locally
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    changes = UNCHANGED | {"data": (f"{domain}={domain}",), "settings": settings, "seeds": str(seed)}
    folder = output or experiments.HOME / f"demo-{domain}"
    guard_folder(folder, (BEGUN,), force)
    again = shlex.join(experiments.run_again(folder))
    made = Run(experiments.opened("demo", changes), folder, folder.parent / "cache", note, command=again)
    experiments.make_and_tell(made, locally)
    note(f"try next: {_program()} generate {_serving(made)}")


def _program() -> str:
    program = Path(sys.argv[0])
    return str(program) if program.name == "bundlewise" else f"{sys.executable} -m bundlewise"


def _serving(run: "Run") -> str:
    """Return the options of `generate` that open the student tuned on the large model's knowledge."""
    maker, test = run.maker, run.maker.inputs.scored[0]
    cell = next(one.cell for one in run.planned if one.cell.is_tuned and one.cell.teacher == "recorded")
    titles = " ".join(shlex.quote(title) for title in test.titles[:4])
    return f"--adapter {maker.adapter(cell)} --kb {maker.knowledge.of(cell).folder} --items {titles}"

"""bundlewise prompts new, lint, test: write templates of your own, check them, and run their test cases."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundlewise.commands.options import own_folder, student_option
from bundlewise.commands.prompts_look import json_option
from bundlewise.errors import UsageError
from bundlewise.terminal import styled

if TYPE_CHECKING:
    from bundlewise.workbench.cases import AnswersCase

FAILED = 100
"""Exit code of `prompts test` when a case fails; 1 and 2 stand for errors and wrong options."""


@click.command()
@click.argument("name")
@click.option("--variant", help="Write NAME.VARIANT.jinja, to compare it with NAME first.")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: --prompts]")
def new(name: str, variant: str | None, folder: Path | None) -> None:
    """Copy the template NAME that is in force, with its test cases, into your folder."""
    from bundlewise.workbench.variants import copy_template

    folder = own_folder(folder, "your prompts")
    for path in copy_template(name, folder, variant):
        click.echo(path)
    said = name if variant is None else f"{name} {name}.{variant}"
    verb = "diff" if variant is None else "compare"
    arguments = "" if variant is None else f" {said} --data DATA"
    click.echo(f"edit it, then: bundlewise --prompts {folder} prompts {verb}{arguments}", err=True)


@click.command()
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings too.")
@json_option
def lint(strict: bool, as_json: bool) -> None:
    """Check your templates, or the built-in ones if you have no folder; exit with 1 on errors.

    Errors are syntax faults, unknown variables, and product text printed without a filter. Warnings are unused
    variables, an answer form that the text does not describe, long fixed text, random output, and a name that
    replaces no template.
    """
    from bundlewise.prompts.library import folder_in_force
    from bundlewise.workbench.lint import lint_folder, lint_shipped

    folder = folder_in_force()
    found = lint_folder(folder) if folder else lint_shipped()
    for each in found:
        place = each.file if each.line is None else f"{each.file}, line {each.line}"
        click.echo(each.model_dump_json() if as_json else f"{place}: {each.severity}: {each.message} ({each.rule})")
    errors = sum(each.severity == "error" for each in found)
    if not as_json:
        click.echo(f"{errors} errors, {len(found) - errors} warnings", err=True)
    if errors or (strict and found):
        click.get_current_context().exit(1)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--with-model", is_flag=True, help="Also ask the student, and check its answers.")
@student_option
@click.option("--adapter", type=click.Path(path_type=Path, file_okay=False), help="Adapter folder of a tuned student.")
@json_option
def test(names: tuple[str, ...], with_model: bool, student: str, adapter: Path | None, as_json: bool) -> None:
    """Run the test cases of templates, in NAME.test.yaml beside them; exit with 100 when a case fails.

    Your own cases replace the built-in cases. A template of yours without cases is tested by the built-in ones.
    """
    from bundlewise.models.endpoints import is_served
    from bundlewise.models.folders import resolve
    from bundlewise.settings import quiet_libraries
    from bundlewise.workbench.cases import cases_of, run
    from bundlewise.workbench.preview import World
    from bundlewise.workbench.reader import Reader

    quiet_libraries()
    answers = _answers(student, adapter) if with_model or adapter else None
    reader = Reader(resolve(student)) if answers and not is_served(student) else None
    outcomes = [
        run(file.template, case, World(reader=reader), answers) for file in cases_of(names) for case in file.cases
    ]
    if not outcomes:
        raise UsageError(f"no cases for {', '.join(names)}; write {names[0]}.test.yaml beside it")
    for each in outcomes:
        if as_json:
            click.echo(json.dumps({"template": each.template, "case": each.case, "faults": each.faults}))
        elif each.faults:
            styled((f"failed  {each.template}: {each.case}", {"fg": "red"}))
            for fault in each.faults:
                click.echo(f"        {fault}")
        elif sys.stdout.isatty():
            click.echo(f"ok      {each.template}: {each.case}")
    failed, skipped = sum(bool(each.faults) for each in outcomes), sum(each.skipped for each in outcomes)
    asked = f", {skipped} without their answers (--with-model)" if skipped else ""
    click.echo(f"{len(outcomes)} cases, {failed} failed{asked}", err=True)
    if failed:
        click.get_current_context().exit(FAILED)


def _answers(student: str, adapter: Path | None) -> "AnswersCase":
    """Return a function by which the student answers a case with the knowledge of the case."""
    from bundlewise.finetune.students import manifest_for, open_model
    from bundlewise.workbench.answer_cache import with_knowledge

    return with_knowledge(open_model(student, adapter, manifest_for(student, adapter)))

"""bundlewise prompts: show, change, test, compare and improve the prompt templates."""

import click

from bundlewise.commands import prompts_compare, prompts_edit, prompts_look, prompts_optimise
from bundlewise.commands.options import Sections, prompts_option

SECTIONS = {
    "Look": [prompts_look.list_, prompts_look.show, prompts_look.vars_, prompts_look.render, prompts_look.diff],
    "Change": [prompts_edit.new, prompts_edit.lint, prompts_edit.test],
    "Measure": [prompts_compare.compare, prompts_optimise.optimise],
}


@click.group(
    cls=Sections,
    sections={title: [prompts_option(each) for each in commands] for title, commands in SECTIONS.items()},
    invoke_without_command=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@prompts_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show, change, test, compare and improve the prompt templates.

    Without a command, it lists the templates with their fingerprints. Templates in a folder of your own, given by
    --prompts or in BUNDLEWISE_PROMPTS, replace the built-in templates of the same name.
    """
    if context.invoked_subcommand is None:
        prompts_look.print_list(as_json)

"""bundlewise prompts list, show, vars, render, diff: show templates, and the prompts that models get from them."""

import json
from typing import TYPE_CHECKING, Any

import click

from bundlewise.commands import data as data_command
from bundlewise.commands.options import dials_of, knowledge_option, policy_options, reads_data, student_option
from bundlewise.errors import UsageError
from bundlewise.terminal import styled

if TYPE_CHECKING:
    from bundlewise.workbench.preview import PromptPart, Rendered

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
DIM = {"dim": True}


def print_list(as_json: bool) -> None:
    """Print the templates in force with their fingerprints."""
    from bundlewise.prompts.library import current
    from bundlewise.prompts.render import TEMPLATES, fingerprint

    found, own = {name: fingerprint(name) for name in TEMPLATES}, current().own
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        click.echo(f"{value}  {name}{f'  ({own[name].path})' if name in own else ''}")
    for name in own.keys() - found.keys():
        click.echo(f"{'a part':12}  {name}  ({own[name].path})")


@click.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the templates with their fingerprints; your own templates are marked."""
    print_list(as_json)


@click.command()
@click.argument("name")
@click.option("--shipped", is_flag=True, help="Show the built-in template, even if you have your own.")
def show(name: str, shipped: bool) -> None:
    """Print the file of a template: front matter and body."""
    from bundlewise.prompts import library
    from bundlewise.workbench.variants import find_template

    if shipped:
        library.check_name(name)
    found = library.shipped(name) if shipped else find_template(name)
    click.echo(f"{found.path}, fingerprint {library.current().replacing(found).fingerprint(found.name)}", err=True)
    click.echo(found.text, nl=False)


@click.command("vars")
@click.argument("name")
@json_option
def vars_(name: str, as_json: bool) -> None:
    """Print the variables of a template with types and examples, and the filters it may use."""
    from bundlewise.prompts.library import current
    from bundlewise.prompts.sandbox import FILTERS_KNOWN

    library = current()
    library.template(name)
    front = library.front(name)
    if as_json:
        click.echo(front.model_dump_json())
        return
    for variable, told in front.variables.items():
        click.echo(f"{variable}: {_type(told.type)}, {told.about}\n    {json.dumps(told.example, ensure_ascii=False)}")
    if front.output:
        click.echo(f"answer: {json.dumps(front.output)}{' (held to it)' if front.held else ''}")
    included = sorted(library.included(name).keys() - {name})
    if included:
        click.echo(f"includes: {', '.join(included)}")
    click.echo(f"filters: {', '.join(FILTERS_KNOWN)}")
    click.echo("item is text from outside: let a filter (line, short, kind) keep it on its line", err=True)


def _type(kind: Any) -> str:
    if isinstance(kind, list):
        return f"list of {_type(kind[0])}"
    if isinstance(kind, dict):
        return "{" + ", ".join(f"{name}: {_type(value)}" for name, value in kind.items()) + "}"
    return str(kind)


@click.command()
@click.argument("name")
@click.option("--session", metavar="ID", help="Session of DATA.  [default: the first]")
@reads_data(default="electronics", show_default=True)
@knowledge_option
@policy_options
@student_option
@json_option
def render(
    name: str, session: str | None, data: str, kb: str | None, student: str, as_json: bool, **options: Any
) -> None:
    """Print the exact prompt that a template makes for a session, with the tokens of each part.

    On a terminal, knowledge is highlighted. A prompt for the student is a text to complete; a prompt for a large
    teacher is a list of chat messages. Tokens are the student's; for a large teacher they are estimated. The prompt
    goes to stdout, everything else to stderr.
    """
    from bundlewise.data.sessions import load
    from bundlewise.settings import quiet_libraries
    from bundlewise.workbench.opening import Opening
    from bundlewise.workbench.preview import rendered

    quiet_libraries()
    asked = data_command.find(data, session)
    opening = Opening(student, None, kb, dials_of(options, kb))
    world = opening.worlds([asked], load(data), opening.retriever())[0]
    found = rendered(name, asked, world)
    if as_json:
        for prompt in found:
            row = prompt.model_dump(mode="json") | {"text": prompt.text, "tokens": prompt.tokens}
            click.echo(json.dumps(row))
        return
    for prompt in found:
        _print(prompt)


def _print(prompt: "Rendered") -> None:
    """Print a prompt to stdout, part by part, and its tokens to stderr."""
    about = f"{prompt.about}, fingerprint {prompt.fingerprint}"
    styled((f"# {prompt.template}: {about}", DIM), err=True)
    for part in prompt.parts:
        if part.role != "text":
            styled((f"[{part.role}, {part.template}, about {part.tokens} tokens]", DIM), err=True)
        styled(*_highlighted(part), nl=False)
        if not part.text.endswith("\n"):
            click.echo()
    if prompt.cut:
        click.echo(f"too long for the student, so {prompt.cut}", err=True)
    styled((f"# {tokens_line(prompt)}", DIM), err=True)


def tokens_line(prompt: "Rendered") -> str:
    """Return a line with the tokens of a prompt by template, and its characters of knowledge."""
    if prompt.tokens is None:
        return "tokens are not known: the student is on a server"
    by_template: dict[str, list[int]] = {}
    for part in prompt.parts:
        by_template.setdefault(part.template, []).append(part.tokens or 0)
    parts = [
        f"{sum(counts)} {name}{f' ({len(counts)})' if len(counts) > 1 else ''}" for name, counts in by_template.items()
    ]
    opening = [f"{prompt.opening} to open"] if prompt.opening else []
    known = sum(end - start for part in prompt.parts for start, end in part.knowledge)
    about = "about " if prompt.estimated else ""
    return f"{about}{prompt.tokens} tokens: {' + '.join([*opening, *parts])}; knowledge: {known} characters"


def _highlighted(part: "PromptPart") -> list[tuple[str, dict[str, Any]]]:
    pieces: list[tuple[str, dict[str, Any]]] = []
    place = 0
    for start, end in part.knowledge:
        pieces += [(part.text[place:start], {}), (part.text[start:end], {"fg": "cyan", "bold": True})]
        place = end
    return [*pieces, (part.text[place:], {})]


@click.command()
@click.argument("a", default="shipped")
@click.argument("b", default="current")
@reads_data(default="electronics", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Sessions to render.")
@click.option("--show", "shown", type=click.IntRange(min=0), default=2, show_default=True, help="Differences to print.")
@knowledge_option
@policy_options
@student_option
@json_option
def diff(
    a: str, b: str, data: str, limit: int, shown: int, kb: str | None, student: str, as_json: bool, **options: Any
) -> None:
    """Show where prompts A and B differ when they are rendered for the first sessions of DATA.

    A and B are each: shipped (built in), current (with your folder), a template's name, NAME.VARIANT in your folder, a
    folder, or a file NAME.jinja or NAME.VARIANT.jinja.
    """
    from bundlewise.data.sessions import load
    from bundlewise.settings import quiet_libraries
    from bundlewise.workbench.diff import differences
    from bundlewise.workbench.opening import Opening
    from bundlewise.workbench.variants import variant_named

    quiet_libraries()
    first, second = variant_named(a), variant_named(b)
    known = load(data)
    sessions = [session for session in known if session.bundles][:limit]
    if not sessions:
        raise UsageError(f"no session of {data} is annotated; give other --data")
    opening = Opening(student, None, kb, dials_of(options, kb))
    worlds = opening.worlds(sessions, known, opening.retriever())
    found = differences(first, second, sessions, worlds, shown)
    if as_json:
        for each in found:
            click.echo(each.model_dump_json())
        return
    if not found:
        click.echo(f"{a} and {b} render the same", err=True)
    for each in found:
        tokens = "" if each.tokens is None else f", {each.tokens:+.1f} tokens a session"
        styled((f"{each.template}: differs for {each.differ} of {each.of} sessions{tokens}", {"bold": True}))
        for _, text in each.samples:
            for line in text.splitlines():
                styled((line, {"fg": {"+": "green", "-": "red"}.get(line[:1])}))

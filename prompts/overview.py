"""Write README.md, the overview of the templates, from their front matter.

Run `python -m bundlewise.prompts.overview` after a change of front matter.
"""

from pathlib import Path

from bundlewise.files import write_text
from bundlewise.prompts.library import SHIPPED, TEMPLATES
from bundlewise.prompts.template import FrontMatter

HEAD = """# The prompts

This page is for prompt engineers: all templates that ship. `python -m bundlewise.prompts.overview` writes it from
the templates' front matter. How to change, test and compare templates: [docs/prompts.md](../docs/prompts.md).

    bundlewise prompts                     # list the templates with their fingerprints
    bundlewise prompts show judge          # print a template
    bundlewise prompts test                # run the cases in NAME.test.yaml

A template is one file: front matter in YAML, then a body in Jinja, which is rendered in a sandbox. A missing
variable is an error, and a title or record cannot leave its line. A fingerprint is a short hash of a template's
body, without the front matter. An adapter carries the fingerprints of the templates of its form: `judge`, `pair`
and `name`, or `write` and `write_system`. A knowledge record carries that of the template that worded it.
`--prompts DIR` or `BUNDLEWISE_PROMPTS` puts a folder of your own in front of these templates.

| template | what for | variables | answer | used by |
|---|---|---|---|---|
"""


def overview() -> str:
    """Return the overview as Markdown."""
    return HEAD + "".join(_row(SHIPPED.front(name)) for name in TEMPLATES)


def _row(front: FrontMatter) -> str:
    variables = " ".join(f"`{name}`" for name in front.variables)
    cells = (f"`{front.name}`", front.purpose, variables, _answer(front), ", ".join(front.used_by))
    return f"| {' | '.join(cells)} |\n"


def _answer(front: FrontMatter) -> str:
    output = front.output
    if output is None:
        return {"wording": "a record's text", "partial": "part of others", "system": "system text"}.get(front.role, "")
    if "contract" in output:
        return f"`{output['contract']}`"
    return f"{output.get('description') or 'yes or no'}{', held to it' if front.held else ''}"


if __name__ == "__main__":
    write_text(Path(__file__).with_name("README.md"), overview())

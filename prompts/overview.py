"""Write README.md, the overview of the templates, from their front matter.

Run `python -m bundlewise.prompts.overview` after a change of front matter.
"""

from pathlib import Path

from bundlewise.files import write_text
from bundlewise.prompts.library import SHIPPED, TEMPLATES
from bundlewise.prompts.template import FrontMatter

HEAD = """# The prompts

This page is written from the templates' front matter by `python -m bundlewise.prompts.overview`.

Each template is one file: front matter in YAML, then a Jinja body, which is rendered strictly in a sandbox. A missing
variable is an error, and a title or record always stays on its line. `bundlewise prompts` lists the fingerprints, which
depend only on the bodies; an adapter holds those of `judge`, `pair` and `name`, a record that of the template that
worded it. Templates in your own folder (`--prompts DIR` or `BUNDLEWISE_PROMPTS`) replace these: see `docs/prompts.md`.
`NAME.test.yaml` holds the cases of a template for `bundlewise prompts test`.

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

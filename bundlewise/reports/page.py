"""Pages of reports: filled templates, plain axes, and pictures embedded as data URLs."""

import base64
import io
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from bundlewise.extras import require


def filled(package: str, name: str, variables: dict[str, Any], **filters: Callable[..., str]) -> str:
    """Return the template `NAME.jinja` of a package with its variables filled in; HTML templates escape them."""
    environment = Environment(
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.from_string(files(package).joinpath(f"{name}.jinja").read_text("utf-8")).render(variables)


def new_figure(height: float) -> tuple[Any, Any]:
    """Return a figure with a page's width and a height in inches, and its axes without a box."""
    require("experiment", "the report of an experiment")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def data_url(figure: Any) -> str:
    """Return a figure as a PNG in a data URL; it names no version, so the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

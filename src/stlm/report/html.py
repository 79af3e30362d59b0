"""Functions for all pages: filling in a template, and drawing pictures inside the page, so that each page is one file."""

from __future__ import annotations

import io
from typing import Any

INK, ACCENT, MUTED = "#1c1e21", "#c2410c", "#8a8f98"


def render(template: str, **values: Any) -> str:
    """Fill in one of this package's templates."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.PackageLoader("stlm", "report"), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True)
    return environment.get_template(template).render(**values)


def drawing(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its axes in the style of the pages. width, height: in inches."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "stlm", "font.size": 10, "axes.edgecolor": MUTED, "text.color": INK})
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg(figure: Any) -> str:
    """A figure as an SVG element. Equal figures give equal text. The figure is closed."""
    from matplotlib import pyplot as plt

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg"):]

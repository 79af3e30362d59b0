"""What the pages share: a template filled in, and pictures inside it, so that each page is one file."""

from __future__ import annotations

import io
from typing import Any

INK, ACCENT, MUTED = "#1c1e21", "#c2410c", "#8a8f98"


def render(template: str, **values: Any) -> str:
    """One of this package's templates, filled in."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.PackageLoader("stlm", "report"), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True)
    return environment.get_template(template).render(**values)


def drawing(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its axes in the style of the pages, of so many inches."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "stlm", "font.size": 10, "axes.edgecolor": MUTED, "text.color": INK})
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg(figure: Any) -> str:
    """A figure as an SVG element, the same for the same figure; the figure is closed."""
    from matplotlib import pyplot as plt

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg"):]

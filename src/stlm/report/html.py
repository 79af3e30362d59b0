"""Functions for all pages: filling in a template, and drawing pictures inside the page, so that each page is one file."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

from stlm.report.quantities import digits, duration, quantity

INK, ACCENT, MUTED = "#1c1e21", "#c2410c", "#8a8f98"
LEAST = 0.83  # pictures become no smaller than this, so that their labels can be read; a narrow window scrolls


def render(template: str, **values: Any) -> str:
    """Fill in one of this package's templates."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.PackageLoader("stlm", "report"), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True)
    environment.filters |= {"digits": digits, "duration": duration, "quantity": quantity}
    return environment.get_template(template).render(**values)


def drawing(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its axes in the style of the pages. width, height: in inches."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "stlm", "font.size": 10, "axes.edgecolor": MUTED, "text.color": INK,
                         "text.parse_math": False})  # a $ in a name is a $
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg(figure: Any) -> str:
    """A figure as an SVG element. Equal figures give equal text. The figure is closed."""
    from matplotlib import pyplot as plt

    buffer, width = io.StringIO(), LEAST * figure.get_figwidth() * 96  # CSS pixels
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in scripts that the font lacks are shown as boxes
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return re.sub("<svg ", f'<svg style="min-width: {width:.0f}px" ', text[text.index("<svg"):], count=1)

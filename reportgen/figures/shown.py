"""A chart as a notebook shows it: SVG and PNG, which need no network, beside the specification for who can draw it.

Altair's own output fetches its scripts from the network and is an error message without it.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from reportgen.figures import export, theme
from reportgen.figures.svg import normalise, render

SCREEN_PPI = 144


def shown(chart: Any, name: str, title: str = "", words: str = "", width_in: float | None = None) -> Any:
    """`chart`, which notebooks show without a network from now on; it is still the Altair chart it was.

    name      id within the page, e.g. the figure's
    title, words  for who cannot see it
    width_in  printed width in inches; None = the figure's own
    """
    kind: Any = type(chart)
    object.__setattr__(chart, "__class__", _offline(kind))  # an attribute set on a chart becomes a field of it
    object.__setattr__(chart, "_told", (name, title, words, width_in))
    return chart


class Offline:
    """What makes a chart show itself without a network. A renderer that the user chose in Altair is respected."""

    def _repr_mimebundle_(self: Any, *args: Any, **more: Any) -> Any:
        """SVG, PNG and Vega-Lite; the notebook takes the richest that it can show."""
        if alt.renderers.active != "default":
            return super()._repr_mimebundle_(*args, **more)  # type: ignore[misc]
        name, title, words, width_in = self.__dict__.get("_told", ("chart", "", "", None))
        spec = self.to_dict(validate=False)
        svg = normalise(render(spec), name, title or name, words or title or name, width_in)
        paper = svg.replace("currentColor", theme.PAPER_INK).replace("<svg ", '<svg style="background:#fff" ', 1)
        return {
            f"application/vnd.vegalite.v{alt.SCHEMA_VERSION.lstrip('v').split('.')[0]}+json": spec,
            "image/svg+xml": paper,
            "image/png": export.png(svg, SCREEN_PPI),
            "text/plain": f"<{type(self).__name__} {name}>",
        }

    def _repr_html_(self: Any) -> None:
        """None: HTML would come before the SVG, and Altair's needs the network."""


def _offline(kind: Any) -> Any:
    """The chart's class with `Offline` before it, under the same name: copies and changed copies keep it."""
    return kind if issubclass(kind, Offline) else type(kind.__name__, (Offline, kind), {"__module__": kind.__module__})

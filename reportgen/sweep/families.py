"""The figure of a sweep over several models: the best score of every layer by relative depth."""

from __future__ import annotations

import numpy as np

from reportgen.figures.curves import Curve, Panel, curves
from reportgen.figures.figure import Figure, Style
from reportgen.runfolder import slug_of
from reportgen.sweep.captions import as_table, mark, text
from reportgen.sweep.series import Story

_HUES = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2")


def family(suite: str, story: Story, style: Style) -> Figure:
    """The best score of every layer against relative depth, one line a model."""
    panels, rows = [], []
    found = list(story.families[suite].items())
    labels = list(dict.fromkeys(p.member.label for _, points in found for p in points))
    for key, points in found:
        lines = []
        for point in points:
            sizes = np.where(np.isfinite(point.sizes), point.sizes, -np.inf).max(axis=1)  # [layer]
            layers = len(sizes)
            depth = tuple(layer / max(1, layers - 1) for layer in range(layers))
            known = [(d, float(s)) for d, s in zip(depth, sizes, strict=True) if np.isfinite(s)]
            hue = _HUES[labels.index(point.member.label) % len(_HUES)]
            lines.append(Curve(point.member.label, tuple(d for d, _ in known), tuple(s for _, s in known), hue))
            rows += [
                (point.member.label, point.member.name, key, round(d * max(1, layers - 1)), layers, d, s)
                for d, s in known
            ]
        panels.append(Panel(points[0].scores.label, "", tuple(lines)))
    signed = any(point.signed for _, points in found for point in points)
    name = slug_of(f"sweep-families-{suite}")
    caption = text(
        f"Best score in every layer against relative depth, layer / (layers − 1), of {len(labels)} models at their "
        "last checkpoint of the sweep. Heads of different models do not correspond: only depth and score are compared.",
        "Sizes of signed scores." if signed else "",
        mark(story.synthetic),
    )
    columns = ("model", "revision", "key", "layer", "layers", "relative depth", "best score in layer")
    return Figure(
        id=name,
        suite=suite,
        title=f"{story.titles[suite]}: models by relative depth",
        caption=caption,
        alt=f"One line for each of {len(labels)} models: the best score by relative depth.",
        chart=curves(
            panels, "Relative depth", "Best score", style, top=0.0 if signed else 1.0,
            ticks=(0, 0.25, 0.5, 0.75, 1),
            synthetic=story.synthetic,
        ),
        data=as_table(name, "Best score by relative depth", columns, rows),
    )  # fmt: skip

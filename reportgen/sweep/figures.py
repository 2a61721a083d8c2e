"""The figures of a sweep's report: circuits along a training run, section by section."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from reportgen.figures.curves import (
    BLUE,
    GREY,
    RED,
    Band,
    Curve,
    CurvePanel,
    Points,
    axis_of,
    curves,
    hue,
    line_chart,
    step_axis,
)
from reportgen.figures.figure import Figure, Maker
from reportgen.figures.head_maps import HeadMap, maps
from reportgen.figures.head_points import CROSS
from reportgen.figures.points import Appearing, appearances
from reportgen.figures.theme import Style
from reportgen.runfolder import slug_of
from reportgen.scores import Cell, Column, Head, HeadScores, Table, head_name
from reportgen.sweep.stored import ALPHA, Labelled, StepPoint, Story, Track, Training

# What the figures of a sweep say alike: where the numbers are from, what is above the line, titles, tables.


def where(training: Training) -> str:
    """Whose numbers: the model, its checkpoints, its layers and heads."""
    point = next(iter(next(iter(training.tracks.values()))[-1].points))
    steps = [member.step or 0 for member in training.members]
    return (
        f"{training.label}, {len(steps)} checkpoints from step {steps[0]:,} to {steps[-1]:,}, "
        f"{point.shape[0]} layers × {point.shape[1]} heads."
    )


def line_words(point: StepPoint) -> str:
    """What 'above the line' means for this score."""
    words = f"family-wise adjusted p ≤ {ALPHA} over the heads of one checkpoint"
    if point.scores.p is None:
        words = "above the checkpoint's family-wise line"
    if point.scores.threshold is not None:
        words += f", and {'|score|' if point.signed else 'score'} ≥ {point.scores.threshold:g}"
    return f"Above the line: {words}; not corrected over checkpoints."


def gaps(training: Training, tracks: Sequence[Track]) -> str:
    """That some checkpoints lack a score, and what that means."""
    short = sum(len(track.points) < len(training.members) for track in tracks)
    return "Checkpoints without a score (for example, a task not solved yet) are not drawn." if short else ""


def mark(synthetic: bool) -> str:
    """What a caption says of numbers that no trained model gave."""
    return "SYNTHETIC: untrained weights or made-up numbers." if synthetic else ""


def text(*sentences: str) -> str:
    """The sentences there are, one after the other."""
    return " ".join(sentence for sentence in sentences if sentence)


def _common(tracks: Sequence[Track]) -> str:
    """The label that all scores share, before their tasks; empty where they share none."""
    starts = {track.label.removesuffix(f": {track.task}") for track in tracks}
    return starts.pop() if len(starts) == 1 and len(tracks) > 1 else ""


def panel_title(track: Track, tracks: Sequence[Track]) -> str:
    """The task where all panels are of one quantity, else the score's label."""
    return track.task[:1].upper() + track.task[1:] if _common(tracks) else track.label


def axis_title(tracks: Sequence[Track], *, signed: bool) -> str:
    words = short_label(_common(tracks)) or "Score"
    return f"|{words}|" if signed else words


def short_label(label: str) -> str:
    """A label for a narrow place: what stands in brackets at its end goes."""
    return label.rsplit(" (", 1)[0] if label.endswith(")") else label


def as_table(key: str, title: str, columns: Sequence[str], rows: Sequence[tuple[Cell, ...]]) -> Table:
    return Table(key, title, tuple(Column(name, digits=4) for name in columns), tuple(rows))


# The figure of a sweep over several models: the best score of every layer by relative depth.

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
        panels.append(CurvePanel(points[0].scores.label, "", tuple(lines)))
    signed = any(point.signed for _, points in found for point in points)
    name = slug_of(f"sweep-families-{suite}")
    caption = text(
        f"Best score in every layer against relative depth, layer / (layers − 1), of {len(labels)} models at their "
        "last checkpoint of the sweep. Heads of different models do not correspond: only depth and score are compared.",
        "Absolute values of signed scores." if signed else "",
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


MOST_FRAMES = 16  # maps of a filmstrip; the page's slider and the CSV have every step
MOST_ROWS = 40  # heads in the figure of appearances


def figures(story: Story, style: Style) -> Iterator[tuple[str, list[Maker]]]:
    """(title of the section, what makes its figures), a section per training run and suite, then the families."""
    for training in story.trainings:
        for suite, tracks in training.tracks.items():
            named = (
                f"{training.label}: {story.titles[suite].lower()}" if len(story.trainings) > 1 else story.titles[suite]
            )
            yield named, training_figures(training, suite, tracks, style, synthetic=story.synthetic)
    found: list[Maker] = [partial(family, suite, story, style) for suite in story.families]
    if found:
        yield "Families by relative depth", found


def training_figures(
    training: Training, suite: str, tracks: Sequence[Track], style: Style, *, synthetic: bool
) -> list[Maker]:
    """Best score, two scores together, heads above the line, appearances, and a filmstrip for every score."""
    made: list[Maker] = [partial(best, training, suite, tracks, style, synthetic=synthetic)]
    if suite in training.together:
        made.append(partial(together, training, suite, style, synthetic=synthetic))
    counted = [track for track in tracks if track.points[-1].beats_null() is not None]
    if counted:
        made.append(partial(counts, training, suite, counted, style, synthetic=synthetic))
    labelled = training.labelled[suite]
    if labelled:
        made.append(partial(appearing, training, suite, labelled, style, synthetic=synthetic))
    return made + [partial(filmstrip, training, track, style, synthetic=synthetic) for track in tracks]


def _id(training: Training, *parts: str) -> str:
    return slug_of("-".join(("sweep", training.label.lower(), *parts)))[:150]


def best(training: Training, suite: str, tracks: Sequence[Track], style: Style, *, synthetic: bool) -> Figure:
    """The best head's score and the spread of all heads against the step."""
    panels, rows = [], []
    for track in tracks:
        quantiles = [np.nanquantile(_known(p), (0.05, 0.25, 0.5, 0.75, 0.95)) for p in track.points]
        tops = [float(np.nanmax(_known(p))) for p in track.points]
        low, q1, mid, q3, high = (tuple(float(q[i]) for q in quantiles) for i in range(5))
        threshold = track.points[-1].scores.threshold
        last = track.points[-1].best()
        panels.append(
            CurvePanel(
                panel_title(track, tracks), f"highest at the end: {head_name(*last)}" if last else "",
                (_line("highest head", track, tops), _line("median head", track, mid, second=True)),
                levels=() if threshold is None else ((threshold, f"the suite's threshold, {threshold:g}"),),
                bands=(Band("5–95 % of heads", track.steps, low, high, 0.16),
                       Band("25–75 %", track.steps, q1, q3, 0.22)),
            )
        )  # fmt: skip
        for point, *numbers in zip(track.points, tops, low, q1, mid, q3, high, strict=True):
            head = point.best()
            name = head_name(*head) if head else None
            rows.append((training.label, track.key, point.member.step, name, *numbers))
    signed = any(track.signed for track in tracks)
    caption = text(
        f"Score of the highest head and of all heads against training step. {where(training)}",
        "The highest head is selected at every step; as the maximum over heads it is biased upwards relative to a "
        "fresh sample. Bands: quantiles over heads.",
        "Absolute values of signed scores." if signed else "",
        gaps(training, tracks),
        mark(synthetic),
    )
    unit = tracks[0].points[0].scores.range
    top = 1.0 if unit == (0.0, 1.0) else 0.0
    columns = ("model", "key", "step", "best head", "best", "q05", "q25", "median", "q75", "q95")
    return Figure(
        id=_id(training, suite, "best"),
        suite=suite,
        title="Best score against training step",
        caption=caption,
        alt=f"Lines that show how the best score of {len(tracks)} quantities grows over training.",
        chart=curves(panels, "", axis_title(tracks, signed=signed), style, top=top, steps=True, synthetic=synthetic),
        data=as_table(_id(training, suite, "best"), "Best score and quantiles over heads", columns, rows),
    )


TOP, MOST_FOLLOWED = 0.02, 10  # share of the heads that are followed, three at least, and at most so many
_MARKS = ("circle", CROSS)


def highest(point: StepPoint) -> list[Head]:
    """The highest heads of one checkpoint, by value."""
    values = point.scores.exact_values
    known = int(np.isfinite(values).sum())
    count = min(known, MOST_FOLLOWED, max(3, math.ceil(TOP * known)))
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=None, kind="stable")[:count]
    return [(int(i) // values.shape[1], int(i) % values.shape[1]) for i in order]


def together(training: Training, suite: str, style: Style, *, synthetic: bool) -> Figure:
    """Both of two scores of the heads that are highest at the end by the one or the other, against the step."""
    tracks = training.together[suite]
    steps = tracks[0].steps
    groups = [highest(track.points[-1]) for track in tracks]
    panels, axes, rows = [], [], []
    for track in tracks:
        values = np.stack([point.scores.exact_values for point in track.points]).astype(np.float64)  # [step layer head]
        lines, marks, means = [], [], []
        for of, heads, colour, shape in zip(tracks, groups, (BLUE, RED), _MARKS, strict=True):
            each = np.stack([values[:, layer, head] for layer, head in heads], 1)  # [step head]
            mean = [float(row[np.isfinite(row)].mean()) if np.isfinite(row).any() else math.nan for row in each]
            lines += [Curve("", steps, each[:, i].tolist(), colour, width=0.4) for i in range(len(heads))]
            means.append(Curve("", steps, mean, colour, width=1.6))
            spots = [(step, y, 1) for step, y in zip(steps, mean, strict=True) if math.isfinite(y)]
            marks.append(Points(f"highest at the end: {short_label(of.label)}", spots, hue(colour, style), shape))
            for head, way in zip(heads, each.T, strict=True):
                rows += [
                    (training.label, of.key, head_name(*head), track.key, point.member.step, _known_or_none(value),
                     *(_end(point.scores, end, head) for end in ("low", "high")))
                    for point, value in zip(track.points, way, strict=True)
                ]  # fmt: skip
        panels.append(CurvePanel(track.label, "", [*lines, *means], points=marks))
        drawn = np.asarray([y for line in lines for y in line.y if y is not None])
        axes.append((step_axis(steps), axis_of("", drawn)))
    both = [head_name(*head) for head in groups[0] if head in groups[1]]
    names = [short_label(track.label) for track in tracks]
    caption = text(
        f"{names[0]} and {names[1][:1].lower()}{names[1][1:]} against training step, of the heads that end highest by "
        f"the one ({len(groups[0])}) or the other ({len(groups[1])}); thick: means. {where(training)}",
        "Chosen by their last value, which is biased upwards for them.",
        f"In both groups: {', '.join(both)}." if both else "No head is in both groups.",
        gaps(training, tracks),
        mark(synthetic),
    )
    columns = ("model", "highest by", "head", "key", "step", "value", "low", "high")
    name = _id(training, suite, "together")
    return Figure(
        id=name,
        suite=suite,
        title=f"{names[0]} and {names[1][:1].lower()}{names[1][1:]} against training step",
        caption=caption,
        alt=f"Two plots against training step, each with the heads that end highest by {names[0]} or by {names[1]}.",
        chart=line_chart(panels, axes, style, synthetic=synthetic, aspect=0.72, widest=26.0),
        data=as_table(name, "Two scores of the heads that end highest", columns, rows),
    )


def _known_or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _end(scores: HeadScores, end: str, head: Head) -> float | None:
    """An end of the head's interval."""
    grid = scores.low if end == "low" else scores.high
    return None if grid is None else _known_or_none(float(grid[head]))


def counts(training: Training, suite: str, tracks: Sequence[Track], style: Style, *, synthetic: bool) -> Figure:
    """How many heads are above the line against the step."""
    panels, rows = [], []
    for track in tracks:
        null = [p.beats_null() for p in track.points]
        above = [p.above() for p in track.points]
        beats = tuple(None if mask is None else float(mask.sum()) for mask in null)
        over = tuple(None if mask is None else float(mask.sum()) for mask in above)
        lines = [_line("above the line", track, over)]
        if track.points[-1].scores.threshold is not None:
            lines.append(_line("beats its null, whatever the size", track, beats, second=True))
        total = int(track.points[-1].scores.exact.sum())
        panels.append(CurvePanel(panel_title(track, tracks), f"of {total} heads", lines))
        for point, a, b in zip(track.points, over, beats, strict=True):
            rows.append((training.label, track.key, point.member.step, _count(a), _count(b), total))
    caption = text(
        f"Number of heads above the line against training step. {where(training)}",
        line_words(tracks[-1].points[-1]),
        mark(synthetic),
    )
    columns = ("model", "key", "step", "heads above the line", "heads beyond the null", "heads scored")
    name = _id(training, suite, "count")
    return Figure(
        id=name,
        suite=suite,
        title="Heads above the line against training step",
        caption=caption,
        alt=f"Lines that show how many heads reach the line for {len(tracks)} quantities over training.",
        chart=curves(panels, "", "Heads", style, steps=True, whole=True, synthetic=synthetic),
        data=as_table(name, "Heads above the line", columns, rows),
    )


def _line(name: str, track: Track, values: Sequence[float | None], *, second: bool = False) -> Curve:
    """A quantity at every step, with a dot on each."""
    look: dict[str, Any] = {"colour": GREY, "dashed": True} if second else {}
    return Curve(name, track.steps, values, width=1.4, dot=13.0, **look)


def _count(value: float | None) -> int | None:
    return None if value is None else int(value)


def appearing(training: Training, suite: str, labelled: Sequence[Labelled], style: Style, *, synthetic: bool) -> Figure:
    """The first step above the line of every head that the last checkpoint labels."""
    steps = tuple(member.step or 0 for member in training.members)
    rows, table = [], []
    for item in labelled:
        by_step = {point.member.step: point for point in item.track.points}
        points = [by_step.get(step) for step in steps]
        values = tuple(_size(point, item.head) for point in points)
        above = tuple(_is_above(point, item.head) for point in points)
        group = (
            f"{item.heads.label} ({item.track.task})"
            if item.track.label.endswith(f": {item.track.task}")
            else item.heads.label
        )
        rows.append(Appearing(item.name, group, values, above))
        first = item.track.first_above(item.head)
        held = sum(above)
        table.append((training.label, group, item.name, item.track.key, first, held, len(steps), values[-1]))
    top = 1.0 if labelled[0].track.points[0].scores.range == (0.0, 1.0) else _largest(rows)
    shown = rows[:MOST_ROWS]
    never = sum(row[4] is None for row in table)
    caption = text(
        f"When each labelled head appears: the first step at which it is above the line (ringed). {where(training)}",
        f"Heads that the suite labels at step {steps[-1]:,}, by set and by their score there. Discs: above the line, "
        "coloured by the score; dots: below it; the thicker line starts at the first step above.",
        line_words(labelled[0].track.points[-1]),
        f"{never} of them are never above it." if never else "",
        f"The first {MOST_ROWS} of {len(rows)}; the CSV has all." if len(rows) > MOST_ROWS else "",
        mark(synthetic),
    )
    name = _id(training, suite, "appearance")
    columns = ("model", "set", "head", "key", "first step above the line", "steps above", "steps", "last score")
    return Figure(
        id=name,
        suite=suite,
        title="When each labelled head appears",
        caption=caption,
        alt=f"{len(shown)} heads as rows, training steps across; a disc where the head is above the line.",
        chart=appearances(shown, steps, "Score", style, top=top, synthetic=synthetic),
        data=as_table(name, "First step above the line per labelled head", columns, table),
        head_sets=tuple({item.heads.key: item.heads for item in labelled}.values()),
    )


def _largest(rows: Sequence[Appearing]) -> float:
    return float(f"{max((v for row in rows for v in row.values if v is not None), default=1.0):.1g}") or 1.0


def _known(point: StepPoint) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The sizes there are; one NaN where there is none."""
    found = point.sizes[np.isfinite(point.sizes)]
    return found if found.size else np.asarray([np.nan], dtype=np.float32)


def _size(point: StepPoint | None, head: tuple[int, int]) -> float | None:
    if point is None or not np.isfinite(point.sizes[head]):
        return None
    return float(point.sizes[head])


def _is_above(point: StepPoint | None, head: tuple[int, int]) -> bool:
    above = None if point is None else point.above()
    return bool(above is not None and above[head])


def frames_of(track: Track) -> list[StepPoint]:
    """At most MOST_FRAMES points: the first, the last, and those between evenly over the list."""
    points = list(track.points)
    if len(points) <= MOST_FRAMES:
        return points
    at = sorted({round(i * (len(points) - 1) / (MOST_FRAMES - 1)) for i in range(MOST_FRAMES)})
    return [points[i] for i in at]


def filmstrip(training: Training, track: Track, style: Style, *, synthetic: bool) -> Figure:
    """The layer x head maps of one score, step by step, on one scale."""
    points = frames_of(track)
    panels = [HeadMap(f"step {p.member.step or 0:,}", _best_words(p), p.scores, p.above()) for p in points]
    rows: list[tuple[Cell, ...]] = []
    for point in track.points:
        above = point.above()
        for (layer, head), value in np.ndenumerate(point.scores.exact_values):
            known = None if not np.isfinite(value) else float(value)
            over = None if above is None else bool(above[layer, head])
            rows.append((training.label, track.key, point.member.step, layer, head, known, over))
    left_out = len(track.points) - len(points)
    caption = text(
        f"{track.label} of every head, step by step, on one colour scale. {where(training)}",
        f"White dots: above the line. {line_words(track.points[-1])}" if points[-1].above() is not None else
        f"No null: {track.points[-1].scores.no_null}.",
        f"{len(points)} of {len(track.points)} checkpoints are drawn; the CSV has all." if left_out else "",
        gaps(training, [track]),
        mark(synthetic),
    )  # fmt: skip
    _, measure, task = track.key.split("/")
    name = _id(training, track.key.split("/")[0], measure, task)
    columns = ("model", "key", "step", "layer", "head", "value", "above the line")
    return Figure(
        id=name,
        suite=track.key.split("/")[0],
        title=f"{track.label}, step by step",
        caption=caption,
        alt=f"{len(points)} maps of layers by heads, one for each of {len(points)} training steps.",
        chart=maps(
            panels,
            short_label(track.points[0].scores.label),
            style,
            signed=track.signed,
            synthetic=synthetic,
            in_row=_in_row(len(points)),
        ),
        data=as_table(name, f"{track.label} by step", columns, rows),
    )


def _in_row(count: int) -> int:
    """Six maps in a row, or as many as leave the fewest gaps."""
    return count if count <= 6 else min((6, 5, 7), key=lambda c: (-(-count // c) * c - count, c != 6))


def _best_words(point: StepPoint) -> str:
    head = point.best()
    return "" if head is None else f"{head_name(*head)} {float(point.scores.values[head]):.2f}".replace("-", "−")

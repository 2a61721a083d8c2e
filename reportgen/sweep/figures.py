"""The figures of a sweep's report: circuits along a training run, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from reportgen.figures.alone import Maker
from reportgen.figures.appearing import Appearing, appearances
from reportgen.figures.emergence import Band, Line, LogPanel, log_panels
from reportgen.figures.figure import Figure, Style
from reportgen.figures.head_maps import HeadMap, maps
from reportgen.runfolder import slug_of
from reportgen.scores import Cell, head_name
from reportgen.sweep.captions import (
    as_table,
    axis_title,
    gaps,
    line_words,
    mark,
    panel_title,
    short_label,
    text,
    where,
)  # fmt: skip
from reportgen.sweep.families import family
from reportgen.sweep.series import Labelled, Point, Story, Track, Training

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
    """Best score, heads above the line, appearances, and a filmstrip for every score."""
    made: list[Maker] = [partial(best, training, suite, tracks, style, synthetic=synthetic)]
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
        threshold = track.points[-1].threshold
        last = track.points[-1].best()
        panels.append(
            LogPanel(
                panel_title(track, tracks), f"highest at the end: {head_name(*last)}" if last else "", track.steps,
                (Line("highest head", tuple(tops)), Line("median head", mid, colour="#7f7f7f", dashed=True)),
                (Band("5–95 % of heads", low, high, 0.16), Band("25–75 %", q1, q3, 0.22)),
                () if threshold is None else ((threshold, f"the suite's threshold, {threshold:g}"),),
            )
        )  # fmt: skip
        for point, *numbers in zip(track.points, tops, low, q1, mid, q3, high, strict=True):
            head = point.best()
            name = head_name(*head) if head else None
            rows.append((training.label, track.key, point.member.step, name, *numbers))
    signed = any(track.signed for track in tracks)
    caption = text(
        f"Score of the highest head and of all heads against training step. {where(training)}",
        "The highest head is chosen anew at every step: being the highest of many, it lies above what a fresh "
        "sample would give. Bands: quantiles over heads.",
        "Sizes of signed scores." if signed else "",
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
        chart=log_panels(panels, axis_title(tracks, signed=signed), style, top=top, synthetic=synthetic),
        data=as_table(_id(training, suite, "best"), "Best score and quantiles over heads", columns, rows),
    )


def counts(training: Training, suite: str, tracks: Sequence[Track], style: Style, *, synthetic: bool) -> Figure:
    """How many heads are above the line against the step."""
    panels, rows = [], []
    for track in tracks:
        null = [p.beats_null() for p in track.points]
        above = [p.above() for p in track.points]
        beats = tuple(None if mask is None else float(mask.sum()) for mask in null)
        over = tuple(None if mask is None else float(mask.sum()) for mask in above)
        lines = [Line("above the line", over)]
        if track.points[-1].threshold is not None:
            lines.append(Line("beats its null, whatever the size", beats, colour="#7f7f7f", dashed=True))
        total = int(track.points[-1].scores.exact.sum())
        panels.append(LogPanel(panel_title(track, tracks), f"of {total} heads", track.steps, tuple(lines)))
        for point, a, b in zip(track.points, over, beats, strict=True):
            rows.append((training.label, track.key, point.member.step, _count(a), _count(b), total))
    caption = text(
        f"Number of heads above the line against training step. {where(training)}",
        line_words(tracks[-1].points[-1]),
        mark(synthetic),
    )
    columns = ("model", "key", "step", "heads above the line", "heads beating the null", "heads scored")
    name = _id(training, suite, "count")
    return Figure(
        id=name,
        suite=suite,
        title="Heads above the line against training step",
        caption=caption,
        alt=f"Lines that show how many heads reach the line for {len(tracks)} quantities over training.",
        chart=log_panels(panels, "Heads", style, whole=True, synthetic=synthetic),
        data=as_table(name, "Heads above the line", columns, rows),
    )


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
        f"{never} of them never are." if never else "",
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


def _known(point: Point) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The sizes there are; one NaN where there is none."""
    found = point.sizes[np.isfinite(point.sizes)]
    return found if found.size else np.asarray([np.nan], dtype=np.float32)


def _size(point: Point | None, head: tuple[int, int]) -> float | None:
    if point is None or not np.isfinite(point.sizes[head]):
        return None
    return float(point.sizes[head])


def _is_above(point: Point | None, head: tuple[int, int]) -> bool:
    above = None if point is None else point.above()
    return bool(above is not None and above[head])


def frames_of(track: Track) -> list[Point]:
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


def _best_words(point: Point) -> str:
    head = point.best()
    return "" if head is None else f"{head_name(*head)} {float(point.scores.values[head]):.2f}".replace("-", "−")

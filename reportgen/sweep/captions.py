"""What the figures of a sweep say alike: where the numbers are from, what is above the line, titles, tables."""

from __future__ import annotations

from collections.abc import Sequence

from reportgen.scores import Cell, Column, Table
from reportgen.sweep.series import ALPHA, Point, Track, Training


def where(training: Training) -> str:
    """Whose numbers: the model, its checkpoints, its layers and heads."""
    point = next(iter(next(iter(training.tracks.values()))[-1].points))
    steps = [member.step or 0 for member in training.members]
    return (
        f"{training.label}, {len(steps)} checkpoints from step {steps[0]:,} to {steps[-1]:,}, "
        f"{point.shape[0]} layers × {point.shape[1]} heads."
    )


def line_words(point: Point) -> str:
    """What 'above the line' means for this score."""
    words = f"family-wise adjusted p ≤ {ALPHA} over the heads of one checkpoint"
    if point.scores.p is None:
        words = "above the checkpoint's family-wise line"
    if point.threshold is not None:
        words += f", and {'|score|' if point.signed else 'score'} ≥ {point.threshold:g}"
    return f"Above the line: {words}; not corrected over checkpoints."


def gaps(training: Training, tracks: Sequence[Track]) -> str:
    """That some checkpoints lack a score, and what that means."""
    short = sum(len(track.points) < len(training.members) for track in tracks)
    return (
        "Where the suite gives a checkpoint no score (a task not solved yet, say), nothing is drawn." if short else ""
    )


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

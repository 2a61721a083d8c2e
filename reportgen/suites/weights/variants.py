"""Successor and copy-suppression scores in other ways, from stored winners and ranks: no product with the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from reportgen.aliases import Floats
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites.variants import KS, Variant, over_line
from reportgen.suites.weights.classes import CLASSES, KeptClass


def variants(result: SuiteResult, settings: Mapping[str, object]) -> tuple[Variant, ...]:
    """Successors without one class of words and in the whole vocabulary; suppression under other k and on half of the
    words. The line is the setting that makes the set."""
    lines = {name: settings.get(name) for name in ("successor_threshold", "suppressor_threshold")}
    successor, suppression = (result.get(*at) for at in (("successor", "classes"), ("suppression", "words")))
    found: list[Variant] = []
    if successor is not None and isinstance(line := lines["successor_threshold"], int | float):
        found += _successors(result, successor, float(line))
    if suppression is not None and isinstance(line := lines["suppressor_threshold"], int | float):
        found += _suppression(result, suppression, float(line), settings.get("k"))
    return tuple(found)


def _successors(result: SuiteResult, scores: HeadScores, line: float) -> Iterator[Variant]:
    shares = _shares(result)
    for left_out in shares if len(shares) > 1 else ():
        mean = np.mean([share for name, share in shares.items() if name != left_out], axis=0)
        grid = over_line(mean, line, scores.exact_values)
        yield Variant(scores.key, "class of words left out", left_out.replace("_", " "), grid)
    strict = result.get("successor_strict", scores.task)
    if strict is not None:
        grid = over_line(strict.exact_values.astype(np.float64), line, scores.exact_values)
        yield Variant(scores.key, "highest of all tokens, not of the class", "the k highest", grid)


def _shares(result: SuiteResult) -> dict[str, Floats]:
    """Class -> [layer head] share of its words whose winner is the next one."""
    found = {}
    for one in CLASSES:
        stored = result.arrays.get(f"winners/{one.name}")  # [word layer head] index of the winner
        if stored is None:
            continue
        places = tuple(one.words.index(word) for word in stored.labels["word"])
        after = KeptClass(one, places, places).after(1)
        source, target = np.array(list(after), np.int64), np.array(list(after.values()), np.int64)
        found[one.name] = np.asarray((stored.values[source] == target[:, None, None]).mean(0))
    return found


def _suppression(result: SuiteResult, scores: HeadScores, line: float, own: object) -> Iterator[Variant]:
    ov, qk = (result.arrays.get(f"ranks/{part}") for part in ("ov", "qk"))  # [word layer head], twice the rank
    if ov is None or qk is None or not isinstance(own, int):
        return

    def share(some: slice, k: int) -> Floats:
        both = [(part.values[some].astype(np.int64) <= 2 * k).mean(0) for part in (ov, qk)]
        return np.asarray(np.minimum(*both))

    for k in (k for k in KS if k != own):
        yield Variant(scores.key, "k", str(k), over_line(share(slice(None), k), line, scores.exact_values))
    for half in range(2 * (len(ov.values) > 1)):
        grid = over_line(share(slice(half, None, 2), own), line, scores.exact_values)
        yield Variant(scores.key, "half of the words", f"half {half + 1}", grid)

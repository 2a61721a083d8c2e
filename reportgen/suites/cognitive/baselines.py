"""What a probe must beat: predicting the function from surface features, with no language model at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from reportgen.suites.cognitive.dataset import answer_shape
from reportgen.suites.cognitive.rows import Row

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
NAMES = {
    "majority": "the most frequent function",
    "position_shape": "naive Bayes on chain position and answer shape",
    "words": "naive Bayes on the sub-question's words",
    "words_position_shape": "naive Bayes on words, chain position and answer shape",
}


def predict_all(rows: Sequence[Row], labels: Ints, train: Ints, classes: int) -> dict[str, Ints]:
    """Baseline -> predicted class of every row [N]; counted on the rows `train` only."""
    prior = np.log(np.bincount(labels[train], minlength=classes) + 1.0)
    words = _naive_bayes([_words(row.subquestion) for row in rows], labels, train, classes)
    place = _naive_bayes([[f"step {row.step}"] for row in rows], labels, train, classes)
    shape = _naive_bayes([[answer_shape(row.answer)] for row in rows], labels, train, classes)
    scores = {
        "majority": np.zeros_like(words),
        "position_shape": place + shape,
        "words": words,
        "words_position_shape": words + place + shape,
    }
    return {name: (score + prior).argmax(1) for name, score in scores.items()}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _naive_bayes(bags: Sequence[Sequence[str]], labels: Ints, train: Ints, classes: int) -> Floats:
    """Multinomial log likelihood [N class] with Laplace's one added; words never seen in train say nothing."""
    known = {word: i for i, word in enumerate(sorted({word for i in train for word in bags[i]}))}
    counts = np.ones((classes, len(known)))
    for i in train:
        for word in bags[i]:
            counts[labels[i], known[word]] += 1
    likelihood = np.log(counts / counts.sum(1, keepdims=True))
    found = [[known[word] for word in bag if word in known] for bag in bags]
    return np.stack([likelihood[:, places].sum(1) for places in found])


def balanced_accuracy(predicted: Ints, truth: Ints, classes: int) -> float:
    """Mean over classes of the share found."""
    return float(np.nanmean(recalls(predicted, truth, classes)))


def recalls(predicted: Ints, truth: Ints, classes: int) -> Floats:
    """[class] share of each class that is found; NaN for a class without rows."""
    n = np.bincount(truth, minlength=classes)
    hits = np.bincount(truth[predicted == truth], minlength=classes)
    return np.where(n > 0, hits / np.maximum(n, 1), np.nan)


def strata(rows: Sequence[Row]) -> tuple[Ints, str]:
    """[N] stratum within which labels are permuted, and its rule in words.

    Split x chain position x answer shape; where fewer than half of the rows share their stratum with another function,
    shape goes, then position.
    """
    rules: tuple[tuple[str, Callable[[Row], object]], ...] = (
        ("split, chain position and answer shape", lambda r: (r.split, r.step, answer_shape(r.answer))),
        ("split and chain position", lambda r: (r.split, r.step)),
        ("split", lambda r: (r.split,)),
    )
    for words, rule in rules:
        keys = [rule(row) for row in rows]
        members: dict[object, set[str]] = {}
        for key, row in zip(keys, rows, strict=True):
            members.setdefault(key, set()).add(row.function)
        free = np.mean([len(members[key]) > 1 for key in keys])
        if free >= 0.5 or words == rules[-1][0]:
            break
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys]), words

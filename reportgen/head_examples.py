"""Examples per head, which any suite may store: events in text with what the head attended to and wrote there.

A suite stores the arrays `example_*` (docs/runfolder.md); page, PDF, figures and export read them here. What is stored
is checked once: run folders come from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reportgen.figures.theme import clean
from reportgen.scores import Head, SuiteResult

PREFIX = "example_"
_TEXT = ("text", "start", "words")
_EVENTS = ("window", "query", "sink", "norm", "dla", "top_share")
_KEYS = ("key", "mass", "weight")
_OUTPUTS = ("raised", "lowered")


@dataclass(frozen=True)
class Key:
    """A key of an event: its position, its token, its attention weight, and its share of the value-weighted weights.

    index  of the token among `HeadExamples.words`, as are the indices of `Example`
    """

    position: int
    index: int
    token: str
    mass: float
    weight: float


@dataclass(frozen=True)
class Example:
    """One event of a head.

    place       "largest", or the decile of the head's output norm: "d10" is the highest
    window      number of the window among those that examples are from;  query  position in it
    before      (position, token) of the tokens up to the query, the last ones;  after  the token that follows, or ""
    keys        the keys with the largest value-weighted weights, position 0 left out;  sink  the weight on position 0
    norm, dla   of the output: its norm, and its direct effect on the logit of the token that follows
    top_share   share of the output that the key with most attention explains
    raised, lowered  tokens whose logits the output by itself raises and lowers most
    indices     of the tokens before, of the one after (-1: none), of those raised and lowered
    """

    place: str
    window: int
    query: int
    before: tuple[tuple[int, str], ...]
    after: str
    keys: tuple[Key, ...]
    sink: float
    norm: float
    dla: float
    top_share: float
    raised: tuple[str, ...]
    lowered: tuple[str, ...]
    indices: tuple[tuple[int, ...], int, tuple[int, ...], tuple[int, ...]] = ((), -1, (), ())


@dataclass(frozen=True, eq=False)
class HeadExamples:
    """All events of a run's heads, as arrays without their prefix; `words` has no text where none was stored."""

    arrays: Mapping[str, npt.NDArray[np.generic]]
    words: tuple[str, ...]
    places: tuple[str, ...]
    suite: str
    has_text: bool

    @classmethod
    def of(cls, result: SuiteResult) -> HeadExamples | None:
        """Those that a result stores; None where it stores none, or what does not fit together."""
        names = (*_TEXT, *_EVENTS, *_KEYS, *_OUTPUTS)
        stored = {name: result.arrays.get(f"{PREFIX}{name}") for name in names}
        if any(array is None for array in stored.values()):
            return None
        arrays = {name: np.asarray(array.values) for name, array in stored.items() if array is not None}
        labels = result.arrays[f"{PREFIX}words"].labels.get("word", ())
        ids = arrays["words"]
        words = tuple(clean(word) for word in labels) or tuple(f"#{int(i)}" for i in ids.ravel())
        places = result.arrays[f"{PREFIX}window"].labels.get("place", ())
        found = cls(arrays, words, tuple(map(clean, places)), result.suite, bool(labels))
        return found if found._fits() else None

    def _fits(self) -> bool:
        a = self.arrays
        grid = a["window"].shape
        shaped = len(grid) == 3 and len(self.places) == grid[2] and a["text"].ndim == a["start"].ndim == 1
        shaped = shaped and all(a[name].shape == grid for name in _EVENTS)
        shaped = shaped and all(a[n].ndim == 4 and a[n].shape[:3] == grid for n in (*_KEYS, *_OUTPUTS))
        shaped = shaped and len({a[n].shape for n in _KEYS}) == 1 and len({a[n].shape for n in _OUTPUTS}) == 1
        whole = all(np.issubdtype(a[n].dtype, np.integer) for n in (*_TEXT, "window", "query", "key", *_OUTPUTS))
        if not shaped or not whole or not self._inside():
            return False
        start, window = a["start"].astype(np.int64), a["window"].astype(np.int64)
        there = window >= 0
        lengths = np.diff(start)[window[there]] - 1  # the last is the token after the window
        return bool((a["query"][there] < lengths).all() and (a["key"][there] < lengths[:, None]).all())

    def _inside(self) -> bool:
        """Whether every index points at something."""
        a = self.arrays
        start, count = a["start"], len(self.words)
        if len(start) < 1 or count != a["words"].size or int(start[0]) != 0 or int(start[-1]) != len(a["text"]):
            return False
        if (np.diff(start.astype(np.int64)) < 1).any() or int(a["window"].max(initial=-1)) >= len(start) - 1:
            return False
        tokens = (a["text"], *(a[name] for name in _OUTPUTS))
        return all(int(t.max(initial=-1)) < count and int(t.min(initial=-1)) >= -1 for t in tokens) and (
            int(a["query"].min(initial=0)) >= 0
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, heads)"""
        layers, heads, _ = self.arrays["window"].shape
        return int(layers), int(heads)

    def word(self, index: int) -> str:
        """A token as text; "" where there is none."""
        return self.words[index] if index >= 0 else ""

    def window(self, number: int) -> list[int]:
        """The tokens of a window as indices, and the one after it (-1 at the end of a document)."""
        start = self.arrays["start"]
        return [int(i) for i in self.arrays["text"][int(start[number]) : int(start[number + 1])]]

    def of_head(self, head: Head, before: int = 48) -> list[Example]:
        """The head's examples, the largest first, each with up to `before` tokens ahead of the query."""
        a: Any = self.arrays
        made = []
        for place, name in enumerate(self.places):
            at = (*head, place)
            if a["window"][at] < 0:
                continue
            window, query = self.window(int(a["window"][at])), int(a["query"][at])
            keys = tuple(
                Key(int(k), window[int(k)], self.word(window[int(k)]), float(m), float(w))
                for k, m, w in zip(a["key"][at], a["mass"][at], a["weight"][at], strict=True)
                if k >= 0
            )
            first = max(0, query - before)
            shown = window[first : query + 1]
            raised, lowered = (tuple(int(i) for i in a[name][at] if i >= 0) for name in _OUTPUTS)
            made.append(Example(
                place=name, window=int(a["window"][at]), query=query,
                before=tuple((p, self.word(i)) for p, i in enumerate(shown, first)),
                after=self.word(window[query + 1]), keys=keys,
                **{n: float(a[n][at]) for n in ("sink", "norm", "dla", "top_share")},
                raised=tuple(map(self.word, raised)), lowered=tuple(map(self.word, lowered)),
                indices=(tuple(shown), window[query + 1], raised, lowered),
            ))  # fmt: skip
        return made


def of_run(results: Mapping[str, SuiteResult]) -> HeadExamples | None:
    """The first examples that a suite of the run stores."""
    return next((found for result in results.values() if (found := HeadExamples.of(result)) is not None), None)

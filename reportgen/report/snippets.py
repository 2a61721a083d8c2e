"""Text snippets packed for the page: where each head attends in natural text, at fixed quantiles of its sharpness."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from reportgen.report.text import clean
from reportgen.scores import SuiteResult

NAMES = ("text", "words", "query", "key", "weight", "sink")


def snippets(result: SuiteResult) -> Mapping[str, object] | None:
    """JSON for the page, None where the result stores no snippets or they do not agree with each other.

    words, text   tokens, and base64 of their indices [window pos], `length` to a window
    places        share of the head's queries whose attention is at most as sharp, per place
    query         [layer head place] window * length + query
    key, weight   [layer head place key] position of the keys, largest weight first, none = the largest number; weight
                  in 255ths.  sink [layer head place] weight on position 0 in 255ths

    Indices are little-endian with as many bits as `text_bits`, `query_bits` and `key_bits` say.
    """
    found = {name: result.arrays.get(f"snippet_{name}") for name in NAMES}
    if any(array is None for array in found.values()):
        return None
    text, words, query, key, weight, sink = (np.asarray(array.values) for array in found.values() if array)
    names = [clean(word) for word in result.arrays["snippet_words"].labels.get("word", ())]
    count, length = text.shape if text.ndim == 2 else (0, 0)
    shaped = query.ndim == 3 and sink.shape == query.shape and key.ndim == 4 and key.shape[:3] == query.shape
    inside = text.size and len(names) == len(words) and _in(text, len(names)) and _in(query, count * length)
    if not shaped or not inside or weight.shape != key.shape or int(key.max(initial=0)) >= length:
        return None
    text_bits, query_bits, key_bits = _bits(len(names)), _bits(count * length), _bits(length + 1)
    return {
        "source": clean(str(result.facts.get("snippets", ""))),
        "words": names,
        "length": length,
        "places": list(result.arrays["snippet_query"].labels.get("place", ())) or [""] * query.shape[2],
        "keys": key.shape[3],
        "text_bits": text_bits,
        "query_bits": query_bits,
        "key_bits": key_bits,
        "text": _packed(text, text_bits),
        "query": _packed(query, query_bits),
        "key": _packed(np.where(key < 0, 2**key_bits - 1, key), key_bits),
        "weight": _packed(_shares(weight), 8),
        "sink": _packed(_shares(sink), 8),
    }


def _in(indices: npt.NDArray[np.generic], size: int) -> bool:
    return int(indices.min()) >= 0 and int(indices.max()) < size


def _bits(size: int) -> int:
    return next(bits for bits in (8, 16, 32) if size < 2**bits)


def _shares(weights: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    return np.rint(255 * np.clip(np.nan_to_num(weights.astype(np.float64)), 0, 1))


def _packed(values: npt.NDArray[np.generic], bits: int) -> str:
    return base64.b64encode(values.astype(f"<u{bits // 8}").tobytes()).decode()

"""Examples per head, packed for the page in a block of their own: nothing reads it before a head's panel is opened."""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt

from reportgen.head_examples import HeadExamples
from reportgen.report.passport import bits_for, packed, shares

MOST_EXAMPLES = 40_000  # on the page; more heads show fewer
FEW = ("largest", "d10", "d7", "d4", "d1")  # the places that stay where there are too many


def example_block(found: HeadExamples | None, shape: tuple[int, int]) -> dict[str, object] | None:
    """JSON for the page of a model of `shape` (layers, heads), None where there are no examples of it.

    words, text   tokens, and base64 of their indices; a window is text[start[w]] to text[start[w + 1]], its last index
                  the token after it
    places        of each head's examples: "largest", "d10", ...
    window, query, sink, norm, dla, share   [layer head place];  key, mass, weight [layer head place key]; raised,
                  lowered [layer head place output]

    Indices are little-endian with as many bits as `bits` says, the largest number stands for none; mass, weight and
    sink are in 255ths; norm, dla and share are float16.
    """
    if found is None or found.shape != shape:
        return None
    kept = _kept_places(found)
    a = {name: values[:, :, kept] if values.ndim > 2 else values for name, values in found.arrays.items()}
    lengths = np.diff(a["start"].astype(np.int64))
    sizes = {
        "text": len(found.words) + 1, "window": len(lengths) + 1, "query": int(lengths.max(initial=1)) + 1,
        "key": int(lengths.max(initial=1)) + 1, "raised": len(found.words) + 1, "lowered": len(found.words) + 1,
    }  # fmt: skip
    bits = {name: bits_for(size) for name, size in sizes.items()}
    block = {name: packed(_unsigned(a[name], b), b) for name, b in bits.items()}
    block |= {name: packed(shares(a[name]), 8) for name in ("mass", "weight", "sink")}
    for name, source in (("norm", "norm"), ("dla", "dla"), ("share", "top_share")):
        with np.errstate(over="ignore"):
            block[name] = base64.b64encode(a[source].astype("<f2").tobytes()).decode()
    return {
        "words": list(found.words),
        "places": [found.places[i] for i in kept],
        "start": a["start"].astype(int).tolist(),
        "keys": int(a["key"].shape[3]),
        "outputs": int(a["raised"].shape[3]),
        "weighted": bool(np.isfinite(a["weight"].astype(float)).any()),
        "bits": bits,
        **block,
    }


def _unsigned(values: npt.NDArray[np.generic], bits: int) -> npt.NDArray[np.int64]:
    whole = values.astype(np.int64)
    return np.where(whole < 0, 2**bits - 1, whole)


def _kept_places(found: HeadExamples) -> list[int]:
    every = list(range(len(found.places)))
    heads = found.shape[0] * found.shape[1]
    if heads * len(every) <= MOST_EXAMPLES:
        return every
    return [found.places.index(name) for name in FEW if name in found.places]

"""A plain reference: every pattern is kept, in float64, and every statistic is a loop over queries and keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reportgen.models.model import Model
from reportgen.suites.text.classes import KINDS
from reportgen.suites.text.scoring.stream import Window

Floats = npt.NDArray[np.float64]


def kept(model: Model, window: Window) -> dict[str, list[Floats]]:
    """Per layer the pattern [head query key], z [pos head d_head], and the stream before it [pos d_model]."""
    found: dict[str, list[Any]] = {"pattern": [], "z": [], "resid_pre": [], "resid_post": []}
    hooks = {
        (kind, layer): (lambda t, kind=kind: found[kind].append(t[0].double().cpu().numpy()))
        for kind in found
        for layer in range(model.record.n_layers)
    }
    model.run(torch.from_numpy(window.ids)[None], hooks)
    return found


def earlier(ids: npt.NDArray[np.int64], q: int) -> list[int]:
    """Positions of earlier copies of the token at q, nearest first; position 0 is none."""
    return [p for p in range(q - 1, 0, -1) if ids[p] == ids[q]]


def induction_keys(ids: npt.NDArray[np.int64], q: int) -> list[int]:
    return [p + 1 for p in earlier(ids, q) if p + 1 < q][:2]


def kind(ids: npt.NDArray[np.int64], following: int, q: int, k: int) -> str:
    after = [p + 1 for p in earlier(ids, q) if p + 1 < q]
    return (
        "sink" if k == 0 else "self" if k == q else "previous" if k == q - 1 else "induction" if k in after
        else "duplicate" if ids[k] == ids[q] else "next" if ids[k] == following else "other"
    )  # fmt: skip


def unembedding(model: Model) -> tuple[Floats, bool]:
    """W_U as directions before the final norm's divisor [vocab d_model], centred over the tokens there are; whether the
    norm centres."""
    W_U = model.W_U().double().cpu().numpy().T
    scale = model.final_scale()
    W_U = W_U - W_U[: model.tokens.size].mean(0)
    W_U = W_U if scale is None else W_U * scale.double().cpu().numpy()
    centres = not hasattr(model.config, "rms_norm_eps")
    return (W_U - W_U.mean(1, keepdims=True) if centres else W_U), centres


def statistics(
    model: Model, windows: Sequence[Window], table: npt.NDArray[np.int64], n_classes: int, first: int
) -> dict[str, Floats]:
    """Scores [layer head] (or with a last axis) of the whole stream."""
    layers, heads = model.record.n_layers, model.record.n_heads
    directions, centres = unembedding(model)
    W_O = [model.W_O(layer).double().cpu().numpy() for layer in range(layers)]
    names = ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps")
    eps = next(getattr(model.config, n) for n in names if hasattr(model.config, n))
    runs = [kept(model, window) for window in windows]
    sums: dict[str, Floats] = {}
    counts: dict[str, float] = {}

    def add(name: str, at: tuple[int, ...], value: float, size: tuple[int, ...] = ()) -> None:
        sums.setdefault(name, np.zeros((layers, heads, *size)))[at] += value

    def count(name: str, by: float = 1) -> None:
        counts[name] = counts.get(name, 0) + by

    norms = np.zeros((len(windows), 2, layers, heads))
    controls = {name: _controls(windows, runs, first, name, layers, heads) for name in ("induction", "duplicate")}
    for w, (window, run) in enumerate(zip(windows, runs, strict=True)):
        ids, after = window.ids, window.next_ids
        final = run["resid_post"][-1]
        spread = final.var(1) if centres else (final**2).mean(1)
        sigma = np.sqrt(spread + eps)
        for q in range(first, len(ids)):
            count("queries")
            count("followed", after[q] >= 0)
            keys = {"induction": induction_keys(ids, q), "duplicate": earlier(ids, q)}
            same_next = [k for k in range(1, q + 1) if ids[k] == after[q]]
            for name, own in keys.items():
                count(name, bool(own))
            for layer in range(layers):
                for head in range(heads):
                    at, row = (layer, head), run["pattern"][layer][head, q]
                    z = run["z"][layer][q, head]
                    out = z @ W_O[layer][head]
                    add("sink", at, row[0])
                    add("first_four", at, row[:4].sum())
                    add("previous", at, row[q - 1])
                    add("self", at, row[q])
                    add("entropy", at, -sum(p * math.log(p) for p in row if p > 0) / math.log(q + 1))
                    add("distance", at, sum(row[k] * (q - k) for k in range(1, q + 1)))
                    add("mass", at, row[1 : q + 1].sum())
                    for name, own in keys.items():
                        control = controls[name][layer][head]
                        add(name, at, sum(row[k] - control[q - k] for k in own))
                    add("copy_next", at, row[same_next].sum() - len(same_next) / q)
                    for c in range(n_classes):
                        own = [k for k in range(1, q + 1) if table[ids[k]] == c]
                        add("excess", (*at, c), row[own].sum() - len(own) / q, (n_classes,))
                    size = float(np.linalg.norm(out))
                    add("output_norm", at, size)
                    add("relative_norm", at, size / float(np.linalg.norm(run["resid_pre"][layer][q])))
                    norms[w, 0, layer, head] += np.linalg.norm(z)
                    norms[w, 1, layer, head] += size
                    if after[q] >= 0:
                        written = float(out @ directions[after[q]]) / sigma[q]
                        add("dla", at, written)
                        add("dla_abs", at, abs(written))
                    which = KINDS.index(kind(ids, int(after[q]), q, int(row[: q + 1].argmax())))
                    add("kinds", (*at, which), size**2, (len(KINDS),))
    found = {name: value / counts["queries"] for name, value in sums.items()}
    found |= {name: sums[name] / counts[name] for name in ("induction", "duplicate")}
    found |= {name: sums[name] / counts["followed"] for name in ("dla", "dla_abs")}
    found["reach"] = sums["distance"] / sums["mass"]
    found["kinds"] = sums["kinds"] / sums["kinds"].sum(-1, keepdims=True)
    for index, name in enumerate(("honor", "honor_out")):
        found[name] = (norms[:, index] / norms[:, index].mean(2, keepdims=True)).mean(0)
    return found


def _controls(
    windows: Sequence[Window], runs: Sequence[dict[str, list[Floats]]], first: int, name: str, layers: int, heads: int
) -> Floats:
    """[layer head distance] mean mass at a distance over queries without such a key, key 0 left out."""
    longest = max(len(w.ids) for w in windows)
    total, number = np.zeros((layers, heads, longest)), np.zeros(longest)
    for window, run in zip(windows, runs, strict=True):
        for q in range(first, len(window.ids)):
            if induction_keys(window.ids, q) if name == "induction" else earlier(window.ids, q):
                continue
            for k in range(1, q + 1):
                number[q - k] += 1
                for layer in range(layers):
                    total[layer, :, q - k] += run["pattern"][layer][:, q, k]
    filled = 0
    for distance in range(longest):
        if number[distance]:
            total[..., distance] /= number[distance]
            filled = distance
        else:
            total[..., distance] = total[..., filled]
    return total

"""Head outputs at the answer sites: one teacher-forced pass, reduced inside the hook to one vector per head.

- A chain's prompts are beginnings of one another (with all earlier steps as context): each text is run once, and the
  sites of every prompt that it contains are read from that pass. In a causal model nothing later changes them.
- For the same reason a batch may be filled up at the right with any token.
- Memory per example: n_layers * n_heads * d_head numbers in the model's own precision; no token is ever stored.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.suites.cognitive.prompts import Encoded

if TYPE_CHECKING:
    from reportgen.models.model import Model

Progress = Callable[[int, int, str], None]
MOST_RESIDUAL_BYTES = 8 << 30  # of hook=result, whose vectors are d_model wide
KEPT_FILES = 6  # feature files in the cache folder, the newest


@dataclass(frozen=True)
class Pass:
    """One text to run, and the examples read from it."""

    ids: tuple[int, ...]
    examples: tuple[int, ...]


def passes(encoded: Sequence[Encoded]) -> list[Pass]:
    """The texts to run: an example whose ids begin another's is read from that one. Longest last."""
    order = sorted(range(len(encoded)), key=lambda i: encoded[i].ids)
    found: list[tuple[tuple[int, ...], list[int]]] = []
    for i in reversed(order):  # a beginning sorts right before what it begins
        ids = encoded[i].ids
        if found and found[-1][0][: len(ids)] == ids:
            found[-1][1].append(i)
        else:
            found.append((ids, [i]))
    return sorted((Pass(ids, tuple(some)) for ids, some in found), key=lambda p: len(p.ids))


def head_outputs(model: Model, encoded: Sequence[Encoded], batch: int, progress: Progress) -> Tensor:
    """Mean z over each example's sites, [example layer head d_head] on the CPU, in the model's precision."""
    r = model.record
    half = r.dtype in ("float16", "bfloat16")
    out = torch.zeros(len(encoded), r.n_layers, r.n_heads, r.d_head, dtype=getattr(torch, r.dtype) if half else None)
    todo = passes(encoded)
    for start in range(0, len(todo), batch):
        progress(start, len(todo), "head outputs")
        some = todo[start : start + batch]
        length = max(len(p.ids) for p in some)
        ids = torch.tensor([[*p.ids, *[p.ids[-1]] * (length - len(p.ids))] for p in some])
        examples = [(line, i) for line, p in enumerate(some) for i in p.examples]
        lines = torch.tensor([line for line, _ in examples])
        weights = torch.zeros(len(examples), length)  # [example pos] 1/n at its sites
        for place, (_, i) in enumerate(examples):
            weights[place, list(encoded[i].sites)] = 1 / len(encoded[i].sites)
        rows = torch.tensor([i for _, i in examples])
        example, pos = weights.nonzero(as_tuple=True)  # on the CPU: a GPU would have to be waited for
        which, line, at, weight = (
            part.to(model.device) for part in (example, lines[example], pos, weights[example, pos])
        )
        keep = _Reduce(which, line, at, weight, len(examples), {})
        model.run(ids, {("z", layer): keep.at(layer) for layer in range(r.n_layers)}, last=True)
        means = torch.stack([keep.means[layer] for layer in range(r.n_layers)], 1)  # [example layer head d_head]
        out[rows] = means.to(out.device, out.dtype)
    return out


def residual(model: Model, z: Tensor) -> Tensor:
    """What each head adds to the residual stream, z W_O, without the bias: [example layer head d_model] float32.

    Of the mean over sites it is the mean, so that it is taken from the stored z. NotApplicable where it has no room.
    """
    r = model.record
    need = 4 * z.shape[0] * r.n_layers * r.n_heads * r.d_model
    if need > MOST_RESIDUAL_BYTES:
        raise NotApplicable(
            f"hook=result needs {need / 2**30:.0f} GiB for {len(z):,} rows of {r.d_model} numbers a head; "
            "use --set cognitive.hook=z or fewer rows."
        )
    out = torch.empty(*z.shape[:3], r.d_model, device=model.device)
    for layer in range(r.n_layers):
        at = z[:, layer].to(model.device).float()
        out[:, layer] = torch.einsum("nhe,hed->nhd", at, model.W_O(layer))
    return out


@dataclass(frozen=True)
class _Reduce:
    """Means of z over the sites of a batch's examples. Per site: its example, its line and position, 1/n of the
    example's n sites; means: layer -> [example head d_head]."""

    example: Tensor
    line: Tensor
    pos: Tensor
    weight: Tensor
    examples: int
    means: dict[int, Tensor]

    def at(self, layer: int) -> Callable[[Tensor], None]:
        def hook(z: Tensor) -> None:  # [line pos head d_head]
            picked = z[self.line, self.pos].float() * self.weight[:, None, None]  # [site head d_head]
            mean = torch.zeros(self.examples, *z.shape[2:], device=z.device)
            self.means[layer] = mean.index_add_(0, self.example, picked)

        return hook


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/reportgen/cognitive, or the same under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "reportgen" / "cognitive"


def recall(key: str, shape: tuple[int, ...]) -> Tensor | None:
    """The features kept under `key`, or None: a damaged or foreign file counts as absent."""
    path = cache_folder() / f"{key}.safetensors"
    try:
        found = load_file(path)
    except (OSError, SafetensorError):
        return None
    kept = found.get("z")
    return kept if kept is not None and tuple(kept.shape) == shape and bool(torch.isfinite(kept).all()) else None


def remember(key: str, z: Tensor) -> None:
    """Keep features, whole or not at all, and only the newest few. A cache that can't be written is no error."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
        os.close(handle)
        save_file({"z": z.contiguous()}, name)
        Path(name).replace(folder / f"{key}.safetensors")
        kept = sorted(folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in kept[KEPT_FILES:]:
            old.unlink()
    except (OSError, SafetensorError):
        return

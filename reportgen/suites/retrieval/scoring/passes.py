"""One prefill of a document, then all its questions at once, teacher-forced; patterns are reduced layer by layer.

At the query that predicts an answer token the pattern is that of greedy decoding as long as every earlier answer token
was the largest logit: `Read.right` says which tokens that holds for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.models.prefix_cache import Past
from reportgen.suites.retrieval.scoring.documents import Asked, Document, Needle

if TYPE_CHECKING:
    from reportgen.models.model import Hooks, Model

Floats = npt.NDArray[np.float32]
WHOLE = 1024  # tokens of a document above which a family without a usable cache is not run
MEASURES = ("copy", "copy_mass", "point", "write")  # that have a table of questions against facts


@dataclass(frozen=True, eq=False)
class Writer:
    """What turns attention to a token into a part of a logit.

    W_O      per layer [head d_head d_model], in float32; empty where another norm stands after it
    scale    [d_model] of the final norm, or None;  centred  whether it takes the mean away;  eps of it
    W_U_of   tokens [...] -> their columns of W_U [d_model ...]: of few, a whole copy would be as large as the embedding
    """

    W_O: list[Tensor]
    scale: Tensor | None
    centred: bool
    eps: float
    W_U_of: Callable[[Tensor], Tensor]

    def toward(self, ids: Tensor, others: Tensor) -> Tensor:
        """[row d_model] directions of tokens [row] against the mean of others [row other], before the final norm."""
        found = self.W_U_of(ids).T - self.W_U_of(others).mean(2).T
        found = found if self.scale is None else found * self.scale
        return found - found.mean(1, keepdim=True) if self.centred else found

    def divisor(self, residual: Tensor) -> Tensor:
        """[...] what the final norm divides the residual stream [... d_model] by."""
        values = residual.float()
        size = values.var(-1, unbiased=False) if self.centred else values.square().mean(-1)
        return (size + self.eps).sqrt()


def writer(model: Model) -> Writer:
    """Weights that every pass needs, read once."""
    config, layers = model.config, range(model.record.n_layers)
    names = ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps")
    eps = next((float(getattr(config, name)) for name in names if getattr(config, name, None) is not None), 1e-5)
    plain = model.post_attn_scale(0) is None
    return Writer(
        [model.W_O(layer).float() for layer in layers] if plain else [],
        model.final_scale(),
        not hasattr(config, "rms_norm_eps"),
        eps,
        model.W_U_of,
    )


@dataclass(frozen=True, eq=False)
class Read:
    """What is left of one document and its questions.

    tables  measure -> [question needle layer head]: of `copy` sums of hits over right tokens, of the others means over
            all answer tokens (`point`: over the tokens of question and stem); NaN: out of a layer's reach
    tokens  [question] answer tokens;  right [question] those before the first wrong one
    whole   [question] every answer token is the largest logit;  logp [question] of the answer, in nats
    sink    [layer head] mean mass on position 0 at the answer queries
    phrases [layer head] mean mass on all values at the answer queries
    """

    tables: dict[str, Floats]
    tokens: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    whole: npt.NDArray[np.bool_]
    logp: Floats
    sink: Floats
    phrases: Floats


@dataclass(frozen=True, eq=False)
class _Places:
    """Where things stand, as tensors.

    rows    [question token] query, in the continuation, that predicts each answer token; targets  the tokens' ids
    there   [question token] the answer has such a token
    keys    [needle token] positions of the values, the last repeated;  known [needle token] the value has such a token
    ids     [needle token] their ids
    spans   [needle key] key is in the needle's sentence
    asking  [question query] query is of the question or the stem
    """

    rows: Tensor
    targets: Tensor
    there: Tensor
    keys: Tensor
    known: Tensor
    ids: Tensor
    spans: Tensor
    asking: Tensor


@dataclass
class _Kept:
    """What the hooks of a pass leave, and what is known before it."""

    places: _Places
    values: list[Tensor]  # per layer [needle token head d_head]
    readers: Tensor | None  # [question token d_model]
    windows: Sequence[float]
    start: int
    right: Tensor | None = None
    tables: dict[str, list[Tensor]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    hits: list[Tensor] = field(default_factory=list)  # per layer [question token needle head]
    sink: list[Tensor] = field(default_factory=list)
    phrases: list[Tensor] = field(default_factory=list)


def padded(rows: Sequence[Sequence[int]], width: int) -> Tensor:
    """[row place] rows made equally long: their last item is repeated."""
    return torch.tensor([[*row, *[row[-1]] * (width - len(row))] for row in rows])


def _places(doc: Document, asked: Sequence[Asked], needles: Sequence[Needle]) -> tuple[Tensor, _Places]:
    """The continuation [question pos], its end repeated where a question is shorter: later positions change none."""
    length = max(len(one.ids) for one in asked) - 1
    ids = padded([one.ids[:-1].tolist() for one in asked], length)
    rows, targets, there = answer_places(asked)
    width = max(needle.value[1] - needle.value[0] for needle in needles)
    keys = [list(range(*needle.value)) for needle in needles]
    spans = torch.zeros(len(needles), len(doc.ids) + length)
    for row, needle in zip(spans, needles, strict=True):
        row[slice(*needle.sentence)] = 1
    at = padded(keys, max(width, rows.shape[1]))
    return ids, _Places(
        rows=rows,
        targets=targets,
        there=there,
        keys=at,
        known=torch.tensor([[n < len(row) for n in range(at.shape[1])] for row in keys]),
        ids=torch.from_numpy(doc.ids)[at],
        spans=spans,
        asking=torch.tensor([[q < one.answer for q in range(length)] for one in asked]),
    )


def read(
    model: Model, of: Writer, doc: Document, asked: Sequence[Asked] | None = None, *, cached: bool = True,
    past: Past | None = None,
) -> Read:  # fmt: skip
    """Ask a document its own questions, or others: then question i counts as one about needle i."""
    needles = doc.needles
    asked = [needle.asked for needle in needles] if asked is None else asked
    ids, places = _places(doc, asked, needles)
    places = _Places(**{name: value.to(model.device) for name, value in vars(places).items()})
    past = past or prefill(model, doc, cached=cached)
    kept = _Kept(places, _values(model, past, places), _readers(of, asked, model.device), windows(model), len(doc.ids))
    last = model.record.n_layers - 1
    sigma: list[Tensor] = []

    def see_end(residual: Tensor) -> None:
        sigma.append(of.divisor(at_rows(residual, places.rows)))

    layers = range(model.record.n_layers)
    hooks: Hooks = {("pattern", layer): partial(_see, kept, of, layer) for layer in layers}
    logits = past.run(ids, {**hooks, ("resid_post", last): see_end})
    logp, first_wrong, whole = _judged(at_rows(logits, places.rows), places)
    return _collected(kept, sigma[0], logp, first_wrong, whole)


def prefill(model: Model, doc: Document, *, cached: bool = True) -> Past:
    """The document's keys and values."""
    return Past(model, torch.from_numpy(doc.ids)[None], cached=cached)


def answers(model: Model, past: Past, asked: Sequence[Asked], hooks: Hooks | None = None) -> tuple[Tensor, Tensor]:
    """Whether every token of each answer is the largest logit [question], and log p of the answers [question]."""
    length = max(len(one.ids) for one in asked) - 1
    at, targets, there = (x.to(model.device) for x in answer_places(asked))
    logits = at_rows(past.run(padded([one.ids[:-1].tolist() for one in asked], length), hooks), at).log_softmax(-1)
    right = (logits.argmax(-1) == targets) | ~there
    logp = logits.gather(-1, targets[..., None])[..., 0] * there
    return right.all(1), logp.sum(1)


def answer_places(asked: Sequence[Asked]) -> tuple[Tensor, Tensor, Tensor]:
    """[question token]: the query, in the continuation, that predicts each answer token; the token; whether it is
    there: shorter answers repeat their last."""
    longest = max(len(one.expected) for one in asked)
    rows = [list(range(one.answer - 1, len(one.ids) - 1)) for one in asked]
    there = torch.tensor([[t < len(row) for t in range(longest)] for row in rows])
    return padded(rows, longest), padded([one.expected.tolist() for one in asked], longest), there


def at_rows(rows: Tensor, places: Tensor) -> Tensor:
    """[question token ...] of [question pos ...] at places [question token]."""
    return rows[torch.arange(len(rows), device=rows.device)[:, None], places]


def _judged(logits: Tensor, places: _Places) -> tuple[Tensor, Tensor, Tensor]:
    """log p [question], tokens before the first wrong one as a mask [question token], all right [question]."""
    told = logits.log_softmax(-1)
    right = told.argmax(-1) == places.targets
    before = (right | ~places.there).int().cumprod(1).bool() & places.there
    logp = (told.gather(-1, places.targets[..., None])[..., 0] * places.there).sum(1)
    return logp, before, (right | ~places.there).all(1)


def _values(model: Model, past: Past, places: _Places) -> list[Tensor]:
    """Per layer [needle token head d_head] the value vectors of the values' tokens."""
    group = model.record.n_heads // model.record.n_kv_heads
    each = past.values(places.keys.flatten())
    shape = (*places.keys.shape, model.record.n_heads, -1)
    return [v[0].float().repeat_interleave(group, 1).view(shape) for v in each]


def _readers(of: Writer, asked: Sequence[Asked], device: torch.device) -> Tensor | None:
    """[question token d_model] the answer token's direction against the first tokens of the other answers."""
    if not of.W_O or len(asked) < 2:
        return None
    longest = max(len(one.expected) for one in asked)
    targets = padded([one.expected.tolist() for one in asked], longest).to(device)
    firsts = targets[:, 0]
    others = torch.stack([torch.cat([firsts[:i], firsts[i + 1 :]]) for i in range(len(asked))])
    flat = of.toward(targets.flatten(), others.repeat_interleave(longest, 0))
    return flat.view(*targets.shape, -1)


def windows(model: Model) -> list[float]:
    """Per layer, how many positions a query sees, its own included."""
    width = getattr(model.config, "sliding_window", None) or getattr(model.config, "window_size", None)
    count = model.record.n_layers
    if not isinstance(width, int) or getattr(model.config, "use_sliding_window", True) is False:
        return [float("inf")] * count
    kinds = getattr(model.config, "layer_types", None) or getattr(model.config, "attention_layers", None)
    narrow = [kind in ("sliding_attention", "local") for kind in kinds] if kinds else [True] * count
    return [float(width) if is_narrow else float("inf") for is_narrow in narrow[:count]]


def _see(kept: _Kept, of: Writer, layer: int, pattern: Tensor) -> None:
    """Reduce a layer's pattern [question head query key]."""
    p = kept.places
    pattern = pattern.float()
    rows = at_rows(pattern.transpose(1, 2), p.rows)  # [question token head key]
    at = rows[..., p.keys]  # [question token head needle n]
    known = p.known.float()
    reach = _reach(kept, kept.windows[layer])  # [question token needle]
    top = _strongest(rows)  # [question token head]
    same = p.ids[None, None] == _counterpart(p)[..., None]  # [question token needle n]
    hit = (top[..., None, None] == p.keys) & p.known & same[:, :, None]  # [question token head needle n]
    kept.hits.append(torch.where(reach[:, :, None], hit.any(-1).float(), torch.nan))
    token = torch.arange(p.rows.shape[1], device=rows.device)
    mass = at[:, token, :, :, token].movedim(0, 1)  # [question token head needle] the value's token at the same place
    kept.tables["copy_mass"].append(_mean(mass, p.there, reach))
    if kept.readers is not None:
        read_by = torch.einsum("hed,qtd->qthe", of.W_O[layer], kept.readers)
        value = torch.einsum("qthe,jnhe->qthjn", read_by, kept.values[layer])
        kept.tables["write"].append(torch.where(reach[:, :, None], (at * value * known).sum(-1), torch.nan))
    point = (pattern @ p.spans.T) * p.asking[:, None, :, None]  # [question head query needle]
    point = point.sum(2) / p.asking.sum(1)[:, None, None]
    kept.tables["point"].append(torch.where(reach.all(1)[:, None], point, torch.nan))
    weight = p.there.float() / p.there.sum()
    kept.sink.append((rows[..., 0] * weight[..., None]).sum((0, 1)))
    kept.phrases.append(((at * known).sum((-1, -2)) * weight[..., None]).sum((0, 1)))


def _counterpart(p: _Places) -> Tensor:
    """[question token needle] the token of a needle's value at the place of the answer token."""
    own = p.ids[:, : p.rows.shape[1]].T  # [token needle]
    return own[None].expand(len(p.rows), -1, -1)


def _strongest(rows: Tensor) -> Tensor:
    """[...] place of the largest of rows [... key], the first of equal ones."""
    return torch.from_numpy(rows.numpy().argmax(-1)) if rows.device.type == "cpu" else rows.argmax(-1)


def _reach(kept: _Kept, window: float) -> Tensor:
    """[question token needle] the layer's queries see the whole value, and of the sentence its beginning."""
    p = kept.places
    first = p.spans.argmax(1)  # [needle]
    return (kept.start + p.rows[..., None] - first) < window


def _mean(values: Tensor, there: Tensor, reach: Tensor) -> Tensor:
    """[question head needle] means over answer tokens of [question token head needle]."""
    total = (values * there[..., None, None]).sum(1) / there.sum(1)[:, None, None]
    return torch.where(reach.all(1)[:, None], total, torch.nan)


def _collected(kept: _Kept, sigma: Tensor, logp: Tensor, before: Tensor, whole: Tensor) -> Read:
    """Everything on the host, [question needle layer head]."""
    p = kept.places
    copied = [(one * before[..., None, None]).sum(1) for one in kept.hits]
    tables = {"copy": copied, **{name: kept.tables[name] for name in ("copy_mass", "point")}}
    if kept.tables["write"]:
        scaled = [one * (p.there / sigma)[..., None, None] for one in kept.tables["write"]]
        tables["write"] = [one.sum(1) / p.there.sum(1)[:, None, None] for one in scaled]
    return Read(
        tables={name: torch.stack(each, 1).movedim(3, 1).cpu().numpy() for name, each in tables.items()},
        tokens=p.there.sum(1).cpu().numpy(),
        right=before.sum(1).cpu().numpy(),
        whole=whole.cpu().numpy(),
        logp=logp.float().cpu().numpy(),
        sink=torch.stack(kept.sink).cpu().numpy(),
        phrases=torch.stack(kept.phrases).cpu().numpy(),
    )

"""The papers' own scores and rules (`retrieval.preset`): in place of this suite's, on its documents, without a null.

wu       copied tokens over the value's tokens, mean over questions of which more than half is answered; >= 0.1
qrhead   attention from question and stem to the fact, less the same for the question "N/A", without tokens that are
         two standard deviations below the fact's mean; the highest 16 heads
feucht   attention to e_n and e_1, weighted by ||v||, without a contrast; patching in probability; no rule
locos    what the head writes from the fact's sentence toward the answer token's raw unembedding, less what it writes
         from as many of all other keys, mean over questions whose whole answer is right; no rule
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reportgen.scores import BoolGrid, FloatGrid
from reportgen.suites.retrieval.scoring.documents import Document, Told, going_on, rendered
from reportgen.suites.retrieval.scoring.measures import Floats, Kept, Ratio
from reportgen.suites.retrieval.scoring.passes import Read, Writer, answer_places, answers, at_rows, padded
from reportgen.suites.retrieval.suite import PRESETS

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model
    from reportgen.models.prefix_cache import Past

ANSWERED = 0.5  # of an answer's tokens, above which a question counts for wu
TOP = 16  # heads of qrhead
NONE = "\nQuestion: N/A\nAnswer:"
NO_NULL = "the paper's score, which has no null"


def measures(preset: str) -> tuple[str, ...]:
    """The measures that a preset replaces."""
    return PRESETS[preset][1]


def wu(reads: Sequence[Read], kept: Kept) -> Ratio:
    """Per document, over questions that count."""
    top, below = [], []
    for one, keep in zip(reads, kept, strict=True):
        counts = np.flatnonzero(keep & (one.right > ANSWERED * one.tokens))
        own = one.tables["copy"][counts, counts].astype(np.float64)  # [question layer head]
        top.append((own / one.tokens[counts][:, None, None]).sum(0))
        below.append(np.full(own.shape[1:], float(len(counts))))
    return Ratio(np.stack(top), np.stack(below))


def qrhead(model: Model, past: Past, doc: Document, *, chat: bool) -> Floats | None:
    """[question layer head] calibrated attention to each question's own fact; None where "N/A" can't be asked."""
    string, start = rendered(model.tokens, doc.text, NONE, chat=chat)
    offset = int(model.tokens.bos_id is not None)
    own = doc.ids[offset:].tolist()
    whole = model.tokens.encode(f"{string} none")
    told = Told((0, 0), (0, 0), None, NONE, "none")
    nothing = going_on(model.tokens, string, start + len(doc.text), told, len(own), whole)
    if nothing is None or whole[: len(own)] != own:
        return None
    asked = [*(needle.asked for needle in doc.needles), nothing]
    found: dict[int, Tensor] = {}
    length = max(len(one.ids) for one in asked) - 1
    rows = torch.tensor([[q < one.answer for q in range(length)] for one in asked], device=model.device).float()

    def see(layer: int, pattern: Tensor) -> None:
        mass = (pattern.float() * rows[:, None, :, None]).sum(2)[:, :, : len(doc.ids)]
        found[layer] = mass / rows.sum(1)[:, None, None]  # [question head key]

    answers(model, past, asked, {("pattern", layer): partial(see, layer) for layer in range(model.record.n_layers)})
    every = torch.stack([found[layer] for layer in sorted(found)], 1).cpu().double().numpy()
    return np.stack([
        _summed((every[i] - every[-1])[..., slice(*needle.sentence)]) for i, needle in enumerate(doc.needles)
    ])  # fmt: skip


def locos(model: Model, of: Writer, past: Past, doc: Document) -> Floats | None:
    """[question layer head] LOCOS' contrast for each question's own fact, in logits; None where a norm follows W_O."""
    if not of.W_O:
        return None
    asked = [needle.asked for needle in doc.needles]
    rows, targets, there = (x.to(model.device) for x in answer_places(asked))
    spans = [range(*needle.sentence) for needle in doc.needles]
    width = max(len(span) for span in spans)
    keys = padded([list(span) for span in spans], width).to(model.device)  # [question key]
    known = torch.tensor([[k < len(span) for k in range(width)] for span in spans], device=model.device).float()
    own = known.sum(1, keepdim=True)  # [question 1] keys of the sentence
    weight = own / (len(doc.ids) + rows + 1 - own)  # [question token]: over the other keys that the query sees
    toward = of.W_U_of(targets).movedim(0, -1)  # [question token d_model]
    group = model.record.n_heads // model.record.n_kv_heads
    values = past.values(keys.flatten())
    readers: dict[int, Tensor] = {}
    found: dict[int, Tensor] = {}

    def see_pattern(layer: int, pattern: Tensor) -> None:
        readers[layer] = torch.einsum("hed,qtd->qthe", of.W_O[layer], toward)
        at = at_rows(pattern.float().transpose(1, 2), rows)  # [question token head key]
        at = at.gather(-1, keys[:, None, None].expand(*at.shape[:3], -1)) * known[:, None, None]
        v = values[layer][0].float().repeat_interleave(group, 1).view(*keys.shape, model.record.n_heads, -1)
        found[layer] = torch.einsum("qthk,qkhe,qthe->qth", at, v, readers[layer])

    def see_z(layer: int, z: Tensor) -> None:
        everything = (at_rows(z.float(), rows) * readers.pop(layer)).sum(-1)  # [question token head]
        contrast = found[layer] - weight[..., None] * (everything - found[layer])
        found[layer] = (contrast * there[..., None]).sum(1) / there.sum(1)[:, None]

    hooks: dict[tuple[str, int], HookFn] = {}
    for layer in range(model.record.n_layers):
        hooks["pattern", layer], hooks["z", layer] = partial(see_pattern, layer), partial(see_z, layer)
    answers(model, past, asked, hooks)
    return torch.stack([found[layer] for layer in sorted(found)], 1).cpu().double().numpy()


def _summed(values: Floats) -> Floats:
    """[layer head] sum over the fact's tokens [layer head key] of those above the mean less two standard deviations."""
    spread = values.std(-1, ddof=1, keepdims=True) if values.shape[-1] > 1 else np.zeros_like(values)
    kept = values > values.mean(-1, keepdims=True) - 2 * spread
    return np.asarray((values * kept).sum(-1))


def of_questions(each: Sequence[Floats | None], kept: Kept) -> Ratio | None:
    """Per document, over questions that count; None where a document has none."""
    pairs = [(one[keep], keep) for one, keep in zip(each, kept, strict=True) if one is not None]
    if len(pairs) < len(each):
        return None
    top = np.stack([one.sum(0) for one, _ in pairs])
    counts = np.array([float(keep.sum()) for _, keep in pairs])
    return Ratio(top, np.broadcast_to(counts[:, None, None], top.shape).copy())


def member(preset: str, values: FloatGrid) -> tuple[BoolGrid, str]:
    """Which heads the paper's rule takes, and the rule."""
    known = np.nan_to_num(values, nan=-np.inf)
    if preset == "wu":
        return known >= 0.1, "retrieval score >= 0.1, as in the paper's released lists; no null"
    least = np.sort(known, axis=None)[-min(TOP, known.size)]
    return (known >= least) & np.isfinite(values), f"the {TOP} highest calibrated scores; no null"


def says(preset: str) -> str:
    """Whose score it is, for labels."""
    return PRESETS[preset][0]

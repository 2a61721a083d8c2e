"""The papers' own scores and rules (`retrieval.preset`): in place of this suite's, on its documents, without a null.

wu       copied tokens over the value's tokens, mean over questions of which more than half is answered; >= 0.1
qrhead   attention from question and stem to the fact, less the same for the question "N/A", without tokens that are
         two standard deviations below the fact's mean; the highest 16 heads
feucht   attention to e_n and e_1, weighted by ||v||, without a contrast; no rule
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
from reportgen.suites.retrieval.scoring.passes import Read, answers
from reportgen.suites.retrieval.suite import PRESETS

if TYPE_CHECKING:
    from reportgen.models.model import Model
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

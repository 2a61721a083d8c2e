"""Roles of a circuit's heads, from evidence, with the rules in words.

After Wang et al. 2022 (arXiv 2211.00593), sections 3.1-3.4: a name mover attends to the answer's name and copies it, a
negative name mover attends to it and suppresses it, an S-inhibition head attends to the subject and acts through the
movers' queries; duplicate-token, induction and previous-token heads feed those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Float32s
from reportgen.scores import Head
from reportgen.suites import ov
from reportgen.suites.circuits.scoring.circuit import Circuit, Effects
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks.task import END, Ids, Pair, Task, batches

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model
    from reportgen.models.weights import Weights


# Where heads look from words of the prompt that have stood in it before: for telling duplicate-token, induction and
# previous-token heads apart by evidence (Wang et al. 2022, section 3.3; Olsson et al. 2022).
#
# Per role whose token stands earlier in the prompt, from role position p and its last earlier copy c:
#     duplicate  attention p -> c        induction  p -> c + 1        previous  c + 1 -> c

KINDS = ("duplicate", "induction", "previous")
COMMON = 0.5  # share of the prompts in which a role's token must have an earlier copy


def repeated(pair: Pair, role: str) -> int | None:
    """The last earlier position of the token of this role, at least two before it."""
    at = pair.roles[role]
    return next((pos for pos in range(at - 2, -1, -1) if pair.clean[pos] == pair.clean[at]), None)


def roles(task: Task, chosen: Sequence[int]) -> tuple[str, ...]:
    """Roles whose token has an earlier copy in most of these prompts; END only where no other has one."""
    pairs = [task.pairs[i] for i in chosen]
    names = dict.fromkeys(role for pair in pairs for role in pair.roles)
    common = [
        role
        for role in names
        if sum(role in pair.roles and repeated(pair, role) is not None for pair in pairs) >= COMMON * len(pairs)
    ]
    return tuple(role for role in common if role != END) or tuple(common)


def looks(model: Model, task: Task, chosen: Sequence[int], batch: int) -> dict[str, Float32s]:
    """kind -> [layer head], the largest over roles of the mean attention on clean prompts; {} without a repeat."""
    found = roles(task, chosen)
    if not found:
        return {}
    record = model.record
    sums = torch.zeros(len(found), len(KINDS), record.n_layers, record.n_heads, device=model.device)
    counts = [0] * len(found)
    for indices in batches(task.pairs, chosen, batch):
        cells = [_cells(task, indices, role) for role in found]
        for number, some in enumerate(cells):
            counts[number] += len(some)
        at = [torch.tensor(some, device=model.device).T if some else None for some in cells]
        hooks: dict[tuple[str, int], HookFn] = {
            ("pattern", layer): _adder(sums, layer, at) for layer in range(record.n_layers)
        }
        ids = torch.tensor([task.pairs[i].clean for i in indices], device=model.device)
        model.run_until(ids, hooks, record.n_layers)
    means = sums / torch.tensor(counts, device=sums.device).view(-1, 1, 1, 1)
    best = means.amax(0).cpu().numpy()
    return {kind: best[number] for number, kind in enumerate(KINDS)}


def _cells(task: Task, indices: Sequence[int], role: str) -> list[tuple[int, int, int]]:
    """(row of the batch, role position, its last earlier copy) of the prompts that have one."""
    out = []
    for row, index in enumerate(indices):
        pair = task.pairs[index]
        copy = repeated(pair, role) if role in pair.roles else None
        if copy is not None:
            out.append((row, pair.roles[role], copy))
    return out


def _adder(sums: Tensor, layer: int, cells: Sequence[Tensor | None]) -> HookFn:
    """`cells`: per role [3 cell], see `_cells`; None where no prompt has one."""

    def add(pattern: Tensor) -> None:  # [prompt head query key]
        for number, some in enumerate(cells):
            if some is None:
                continue
            row, at, copy = some
            for kind, (query, key) in enumerate(((at, copy), (at, copy + 1), (copy + 1, copy))):
                sums[number, kind, layer] += pattern[row, :, query, key].float().sum(0)

    return add


# What the heads' OV circuits write for the tokens that a task's answers are read from.

Maps = Mapping[int, tuple[Ids, Ids]]


@torch.inference_mode()
def writes(
    model: Weights, maps: Maps, words: ov.Sources, heads: Sequence[Head], k: int, sign: int = 1
) -> dict[Head, float]:
    """Share of the source tokens for which each head's OV circuit writes the answer.

    maps  source token -> (answers, foils), in the order of `words`. A head writes an answer that is among the k
          largest logits of the OV row, rank 1 + number above + half the ties; of several answers (later years) the mean
          must lie above that of the foils.
    sign  -1 asks for the k smallest, or for answers below the foils: suppression
    """
    if all(answers == (source,) for source, (answers, _) in maps.items()):
        return ov.copying_top_k(model, words, heads, k, sign)
    W_U = model.W_U()  # [d_model vocab]
    answers, foils = (_TokenSets([sets[i] for sets in maps.values()], W_U.device) for i in (0, 1))
    shares: dict[Head, Tensor] = {}
    for layer in sorted({layer for layer, _ in heads}):
        outputs = ov.head_outputs(model, layer, words.at(layer))  # [head token d_model]
        for head in sorted(h for lay, h in heads if lay == layer):
            logits = sign * (outputs[head] @ W_U)  # [token vocab]
            hits = torch.where(answers.several, _above(logits, answers, foils), _among(logits, answers, k))
            shares[layer, head] = torch.where(logits.isfinite().all(), hits.float().mean(), torch.nan)
    return ov.on_host(shares)


class _TokenSets:
    """A set of token ids per source token, padded: ids, member [token widest]; several [token], more than one."""

    def __init__(self, sets: Sequence[Ids], device: torch.device) -> None:
        widest = max(1, *map(len, sets))
        self.ids = torch.tensor([[*ids, *[0] * (widest - len(ids))] for ids in sets], device=device)
        sizes = torch.tensor([len(ids) for ids in sets], device=device)
        self.member = torch.arange(widest, device=device) < sizes[:, None]
        self.sizes, self.several = sizes, sizes > 1

    def mean(self, logits: Tensor) -> Tensor:
        """Mean logit of each token's set [token]; of the whole row where the set is empty."""
        found = (logits.gather(1, self.ids) * self.member).sum(1) / self.sizes.clamp_min(1)
        return torch.where(self.sizes > 0, found, logits.mean(1))


def _above(logits: Tensor, answers: _TokenSets, foils: _TokenSets) -> Tensor:
    """[token] whether the answers' mean logit lies above that of the foils."""
    return answers.mean(logits) > foils.mean(logits)


def _among(logits: Tensor, answers: _TokenSets, k: int) -> Tensor:
    """[token] whether the first answer is among the k largest logits of the row."""
    own = logits.gather(1, answers.ids[:, :1])
    above, ties = (logits > own).sum(1), (logits == own).sum(1) - 1
    return 1 + above + ties / 2 <= k


def words_for(maps: Maps, k: int) -> str:
    """The rule in words, for captions and head sets."""
    if any(len(answers) > 1 for answers, _ in maps.values()):
        return "the OV row of the token attended to has a higher mean logit on the answers than on their foils"
    return f"the answer stands among the {k} largest logits of the OV row of the token attended to"


SUPPORTS, OPPOSES = "other, supports the answer", "other, opposes the answer"
INHIBITION, OTHER_PATH = "S-inhibition head", "other"
LOOKS = {"duplicate": "duplicate-token head", "induction": "induction head", "previous": "previous-token head"}
_WHERE = {
    "duplicate": "a repeated word to its last earlier copy",
    "induction": "a repeated word to the token after its last earlier copy",
    "previous": "the token after the first copy of a repeated word back to that copy",
}


def mover(task: Task) -> str:
    """The task's word for a head that writes the answer."""
    return task.mover.one


def negative(task: Task) -> str:
    """The task's word for a head that writes against the answer."""
    return f"negative {task.mover.one}"


def suppressor(task: Task) -> str:
    """The task's word for a head that writes against the foil."""
    return "subject suppressor" if task.name == "ioi" else "foil suppressor"


@dataclass(frozen=True, eq=False)
class HeadEvidence:
    """What is known of the heads with a direct effect.

    attention    [role layer head] mean attention from END to the task's attended roles; role 0 is the answer's token
    writes       head -> share of source tokens for which its OV circuit writes the answer
    suppresses   head -> the same with the signs turned
    on_foil      [layer head] mean direct logit attribution to the foil less the mean over the task's words, or None
    """

    task: Task
    effects: Effects
    circuit: Circuit
    attention: Float32s
    writes: Mapping[Head, float]
    suppresses: Mapping[Head, float]
    on_foil: npt.NDArray[np.floating] | None

    def looks(self, head: Head, settings: Settings) -> tuple[bool, bool]:
        """Whether the head attends from END to the answer's token above all, and to a foil's above all."""
        mass = {role: float(self.attention[i, head[0], head[1]]) for i, role in enumerate(self.task.attended)}
        if not mass:
            return False, False
        first = max(mass, key=lambda role: mass[role])
        enough = mass[first] >= settings.mover_attention
        return enough and first == self.task.attended[0], enough and first in self.task.foils


def direct_role(head: Head, found: HeadEvidence, settings: Settings) -> str:
    """The role of a head with a direct effect."""
    on_answer, on_foil = found.looks(head, settings)
    if found.effects.value[head] > 0:
        if on_answer and found.writes[head] >= settings.copy_threshold:
            return mover(found.task)
        lowers = found.on_foil is not None and bool(found.on_foil[head] < 0)
        return suppressor(found.task) if on_foil and lowers else SUPPORTS
    suppresses = on_answer and found.suppresses[head] >= settings.copy_threshold
    return negative(found.task) if suppresses else OPPOSES


def query_role(head: Head, found: HeadEvidence, settings: Settings) -> str:
    """The role of a head that acts through the movers' queries."""
    on_foil = found.looks(head, settings)[1]
    return INHIBITION if found.task.name == "ioi" and on_foil else OTHER_PATH


def feeding_role(head: Head, looks: Mapping[str, Float32s], writes: float, settings: Settings) -> str:
    """The role of a head that acts through the inputs of those: where it looks most, from 0.2 of its attention on.

    An induction head by attention alone is prefix matching: it must write what it reads, too (`writes`).
    """
    mass = {kind: float(grid[head]) for kind, grid in looks.items()}
    if writes < settings.copy_threshold:
        mass.pop("induction", None)
    kind = max(mass, key=lambda name: mass[name], default="")
    return LOOKS[kind] if kind and mass[kind] >= settings.mover_attention else OTHER_PATH


def looks_and_writes(task: Task, settings: Settings) -> str:
    """What a mover does beside its effect, in words."""
    return f"{_where(task, settings)}; {_what(task, settings)}"


def _where(task: Task, settings: Settings) -> str:
    answer = task.attended[0] if task.attended else "the answer's token"
    return f"mean attention from END to {answer} >= {settings.mover_attention:g} and above that to any other role"


def _what(task: Task, settings: Settings) -> str:
    ov_rule = words_for(task.maps, settings.copy_k)
    return f"for >= {settings.copy_threshold:g} of the tokens that can stand there, {ov_rule}"


def rules(task: Task, settings: Settings) -> dict[str, str]:
    """Role, or stage, -> the rule in words."""
    share, least = f"{settings.effect_share:.0%}", f"{settings.mover_attention:g}"
    size = f">= {share} of the clean-corrupted gap and adjusted p <= {settings.alpha:g} (sign-flip max-T over prompts)"
    if settings.rule == "merullo":
        size = "among the largest 2 % of all heads, at least three"
    member = f"|direct effect| {size}"
    where, writes = _where(task, settings), _what(task, settings)
    found = {
        "direct": member,
        mover(task): f"{member}; effect > 0; {where}; {writes}",
        negative(task): f"{member}; effect < 0; {where}; the same for the OV row with its sign flipped",
        suppressor(
            task
        ): f"{member}; effect > 0; mean attention from END to {_or(task.foils)} >= {least} and above that "
        "to any other role; direct logit attribution to the foil, minus the mean over all words, below 0",
        "through_movers": f"|effect through the movers' inputs| {size}; path patching in two runs",
        "through_those": f"|effect through the inputs of the heads that act on the movers| {size}; path patching in "
        "two runs",
        INHIBITION: f"|effect through the movers' queries| {size}; mean attention from END to {_or(task.foils)} >= "
        f"{least} and above that to any other role",
    }
    for kind, role in LOOKS.items():
        copies = f"; OV copying >= {settings.copy_threshold:g}" if kind == "induction" else ""
        found[role] = f"acts through later heads' inputs; mean attention from {_WHERE[kind]} >= {least}{copies}"
    return found


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(names) if names else "a foil's token"

"""The causal check: every function's heads removed, every function's questions asked.

Heads are ranked on the selection split and removed on the test split. Sets have one size for all functions, so that a
function with more heads does not lose more; the elbow's own sets stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Bools, Floats, Ints
from reportgen.models.prefix_cache import Branch, Past, check_branches, check_cache
from reportgen.suites.cognitive.scoring.prompts import Encoded, passes
from reportgen.suites.ov import RandomSets, random_sets

if TYPE_CHECKING:
    from reportgen.models.model import Hooks, Model


# Which heads are removed: each function's leading ones.


def equal_size(heads: int, asked: int) -> int:
    """Heads removed per function: as asked, else a twelfth of all heads; at most a quarter."""
    return max(1, min(asked or round(heads / 12), heads // 4))


def curve_sizes(heads: int) -> tuple[int, ...]:
    """0, 1, 2, 4, 8, ... up to a quarter of all heads."""
    sizes, n = [0], 1
    while n <= max(1, heads // 4):
        sizes.append(n)
        n *= 2
    return tuple(sizes)


# Questions answered many times, each time with other heads changed at the answer sites.
#
# - Heads are changed where importance was read: at the last prompt token and at every answer token but the last. The
#   prompt before is the same in every variant, and a chain's prompts are beginnings of one another: a chain's text is
#   run once, and every variant of all its questions is a branch of it.
# - Answers are teacher-forced: the log-probability of the right answer's tokens, whether greedy decoding would give
#   that answer (every token the most likely one), and whether it would give what the intact model says. The last two
#   are different things: a wrong answer may stay as it was.

_STACK_BYTES = 256 << 20  # logits of one forward pass
_PLACES = 512  # positions of one, since each is held against all others


@dataclass(frozen=True)
class Variants:
    """What is done to z in each variant: z -> keep * z + fill_in * mean. keep, fill_in [variant layer head]."""

    keep: npt.NDArray[np.float32]
    fill_in: npt.NDArray[np.float32]

    @staticmethod
    def removed(sets: Sequence[Sequence[int]], shape: tuple[int, int], how: str, scale: float) -> Variants:
        """Sets of flat head numbers: replaced by the mean (`how` = "mean") or scaled to `scale` (`how` = "scale")."""
        flat = np.zeros((len(sets), shape[0] * shape[1]), np.float32)
        for row, heads in zip(flat, sets, strict=True):
            row[list(heads)] = 1
        off = flat.reshape(-1, *shape)
        return Variants(1 - off, off) if how == "mean" else Variants(1 - (1 - scale) * off, np.zeros_like(off))

    @staticmethod
    def stacked(parts: Sequence[Variants]) -> Variants:
        """All variants of several plans, in order."""
        return Variants(np.concatenate([p.keep for p in parts]), np.concatenate([p.fill_in for p in parts]))

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, part: slice | Bools) -> Variants:
        return Variants(self.keep[part], self.fill_in[part])


@dataclass(frozen=True)
class VariantOutcome:
    """Per variant: log-probability of the right answer in nats (NaN where it was not asked for), right, and the same
    as the intact model's answer."""

    logprob: Floats
    right: Bools
    unchanged: Bools


@dataclass(frozen=True)
class Answers:
    """One question: log-probability of the right answer by the intact model, what it says instead, whether that is
    right, and what becomes of it under every variant. said [token], as many as the right answer has."""

    intact: float
    said: tuple[int, ...]
    right: bool
    outcome: VariantOutcome


@dataclass(frozen=True)
class _Reading:
    """One question read with the tokens `given` behind its first `start` positions, under every variant.

    answer [token] is wanted behind each of them; its log-probability is, under the first `scored` variants
    """

    start: int
    given: Tensor
    answer: Tensor
    variants: Variants
    scored: int

    def part(self, start: int, n: int) -> _Reading:
        """Some of the variants."""
        some = self.variants[start : start + n]
        return _Reading(self.start, self.given, self.answer, some, min(max(self.scored - start, 0), n))


class Text:
    """A text that all of some questions' prompts begin with, and the mean [layer head d_head] that replaces z."""

    def __init__(self, model: Model, ids: Sequence[int], mean: Tensor, *, cached: bool, packed: bool) -> None:
        self.model, self.mean = model, mean.to(model.device)
        self.past = Past(model, torch.tensor([list(ids)], dtype=torch.long), cached=cached, packed=packed)

    def answers(self, rows: Sequence[Encoded], variants: Sequence[Variants], scored: Sequence[int]) -> list[Answers]:
        """Every row's answer, intact and under its variants; log-probabilities of the first `scored` of them."""
        nothing = Variants(*(np.zeros((1, *self.mean.shape[:2]), np.float32) + x for x in (1, 0)))
        asked = []
        for row, some, n in zip(rows, variants, scored, strict=True):
            ids = torch.tensor(row.ids[row.first :])
            asked.append(_Reading(row.first, ids[:-1], ids[1:], Variants.stacked([nothing, some]), 1 + n))
        read = self._read(asked)
        said = [self._said(one, greedy[0]) for one, (_, greedy) in zip(asked, read, strict=True)]
        unchanged = self._unchanged(asked, [greedy for _, greedy in read], said)
        found = []
        for one, (logprob, greedy), own, same in zip(asked, read, said, unchanged, strict=True):
            right = (greedy == one.answer).all(1).numpy()
            outcome = VariantOutcome(logprob[1:].double().numpy(), right[1:], same[1:].numpy())
            found.append(Answers(float(logprob[0]), tuple(own.tolist()), bool(right[0]), outcome))
        return found

    def _unchanged(self, asked: Sequence[_Reading], greedy: Sequence[Tensor], said: Sequence[Tensor]) -> list[Tensor]:
        """[variant] whether greedy decoding gives what the intact model says.

        Known up to where that leaves the right answer; only variants that go along until there are read behind it.
        """
        same, again = [], {}
        for i, (one, found, own) in enumerate(zip(asked, greedy, said, strict=True)):
            left = torch.nonzero(own[:-1] != one.answer[:-1])[:1, 0].tolist()
            along = (found[:, : left[0] + 1] == own[: left[0] + 1] if left else found == own).all(1)
            same.append(along)
            if left and bool(along.any()):
                again[i] = _Reading(one.start, _shifted(one, own), own, one.variants[along.numpy()], 0)
        for i, (_, found) in zip(again, self._read(list(again.values())), strict=True):
            same[i][same[i].clone()] = (found == said[i]).all(1)
        return same

    def _said(self, asked: _Reading, greedy: Tensor) -> Tensor:
        """What the intact model says [token]; `greedy` [token] is what it says behind the right answer's tokens."""
        wrong = torch.nonzero(greedy != asked.answer)[:1, 0].tolist()  # up to there it is what it says by itself
        said = greedy[: wrong[0] + 1] if wrong else greedy
        while len(said) < len(asked.answer):
            given = _shifted(asked, said)
            one = _Reading(asked.start, given, greedy[: len(given)], asked.variants[:1], 0)
            said = torch.cat([said, self._read([one])[0][1][0, -1:]])
        return said

    def _read(self, readings: Sequence[_Reading]) -> list[tuple[Tensor, Tensor]]:
        """(log-probability of the answer [variant], most likely tokens [variant token]) of each, on the CPU."""
        room = max(1, min(_PLACES, _STACK_BYTES // (4 * self.model.record.d_vocab)))
        passes: list[list[tuple[int, _Reading]]] = [[]]
        left = room
        for i, one in enumerate(readings):
            start, length = 0, len(one.given)
            while start < len(one.variants):
                n = min(len(one.variants) - start, max(left // length, 0 if passes[-1] else 1))
                if n:
                    passes[-1].append((i, one.part(start, n)))
                    start, left = start + n, left - n * length
                else:
                    passes.append([])
                    left = room
        parts: list[list[Tensor]] = [[] for _ in readings]
        for some in passes:
            for (i, _), found in zip(some, self._pass([one for _, one in some]), strict=True):
                parts[i].append(found)
        whole = [torch.cat(found).cpu() for found in parts]  # [variant 1+token] each
        return [(found[:, 0], found[:, 1:].long()) for found in whole]

    def _pass(self, some: Sequence[_Reading]) -> list[Tensor]:
        """Per reading [variant 1+token]: the log-probability of the answer, and the most likely tokens as numbers."""
        if not some:
            return []
        branches = [
            Branch(one.start, one.given.expand(len(one.variants), -1), _edits(one.variants, self.mean)) for one in some
        ]
        found = []
        for one, logits in zip(some, self.past.branches(branches), strict=True):
            said = logits.argmax(-1)
            logprob = torch.full_like(logits[:, 0, 0], torch.nan)
            logprob[: one.scored] = _logprob(logits[: one.scored], one.answer.to(logits.device))
            found.append(torch.cat([logprob[:, None], said.float()], dim=1))
        return found


def _shifted(asked: _Reading, said: Tensor) -> Tensor:
    """The last prompt token and what is said, but for its last token if it is whole: [token]."""
    return torch.cat([asked.given[:1], said])[: len(asked.given)]


def _edits(variants: Variants, mean: Tensor) -> Hooks:
    """Hooks on the layers that any variant touches; mean [layer head d_head] lies on the model's device."""
    touched = (variants.keep != 1).any((0, 2)) | (variants.fill_in != 0).any((0, 2))
    keep, filled = (torch.from_numpy(part).to(mean.device) for part in (variants.keep, variants.fill_in))
    return {
        ("z", layer): _Edit(keep[:, layer, None, :, None], filled[:, layer, None, :, None] * mean[layer])
        for layer in np.flatnonzero(touched).tolist()
    }


@dataclass(frozen=True)
class _Edit:
    keep: Tensor  # [variant 1 head 1]
    fill: Tensor  # [variant 1 head d_head]

    def __call__(self, z: Tensor) -> Tensor:
        return (z * self.keep + self.fill).to(z.dtype)


def _logprob(logits: Tensor, answer: Tensor) -> Tensor:
    """[variant] summed over the answer's tokens [token]."""
    chosen = logits.log_softmax(-1).gather(-1, answer.expand(len(logits), -1)[..., None])
    return chosen[..., 0].sum(1)


def neutral_loss(model: Model, texts: Sequence[Sequence[int]], mean: Tensor, variants: Variants, batch: int) -> Floats:
    """Mean next-token loss in nats on plain texts, every position changed: what removing heads costs in general."""
    total, tokens = np.zeros(len(variants)), 0
    mean = mean.to(model.device)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), batch):
        some = [list(texts[i]) for i in order[start : start + batch]]
        length = max(len(t) for t in some)
        ids = torch.tensor([t + t[-1:] * (length - len(t)) for t in some], device=model.device)
        real = torch.arange(1, length)[None] < torch.tensor([len(t) for t in some])[:, None]
        tokens += int(real.sum())
        places = real.flatten().nonzero()[:, 0].to(model.device)
        sums = []
        for v in range(len(variants)):
            logits = model.run(ids, _edits(variants[v : v + 1], mean))[:, :-1]
            losses = -logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
            sums.append(losses.flatten()[places].sum())
        total += torch.stack(sums).cpu().double().numpy()
    return total / max(tokens, 1)


HOWS = ("mean", "scale")


@dataclass(frozen=True)
class Plan:
    """What is removed. ranked: per function all heads by falling importance; elbows: heads before the elbow.

    how, scale    the main matrix's change ("mean" or "scale") and the factor of "scale"
    size          heads removed per function in the matrix; 0 = a twelfth;  rule "elbow": the elbow's sets instead
    random_sets   random sets per function at that size;  curve_sets: those behind the curves
    """

    ranked: Sequence[Ints]
    elbows: Sequence[int]
    rule: str
    how: str
    scale: float
    size: int
    random_sets: int
    curve_sets: int


@dataclass(frozen=True)
class AblationEffects:
    """What came out, item by item; items are the test rows in order.

    label [item]; chain [item]; intact [item] log-probability; right [item]
    logprob, correct, unchanged   how -> [item function]: with that function's heads removed
    elbow         [item] log-probability with the own function's elbow heads removed;  elbow_right [item]
    random        [item set] log-probability with random sets like the own function's;  random_right [item set]
    curve_right, curve_unchanged          [item size];  random_curve_*  [item set size]
    sizes         heads removed along the curves;  set_sizes: heads per function in the matrix
    neutral       [1 + function] loss on plain text, intact first
    fallbacks     (layer, norm, draws) of the random sets
    """

    label: Ints
    chain: tuple[str, ...]
    intact: Floats
    right: Bools
    logprob: dict[str, Floats]
    correct: dict[str, Bools]
    unchanged: dict[str, Bools]
    elbow: Floats
    elbow_right: Bools
    random: Floats
    random_right: Bools
    curve_right: Bools
    curve_unchanged: Bools
    random_curve_right: Bools
    random_curve_unchanged: Bools
    sizes: tuple[int, ...]
    sets: tuple[tuple[int, ...], ...]
    neutral: Floats
    fallbacks: tuple[int, int, int]
    cached: bool


@dataclass(frozen=True)
class _Function:
    """The variants that only this function's own questions are asked under."""

    variants: Variants
    random: int
    curve: int
    sizes: tuple[int, ...]


def effects(
    model: Model,
    rows: Sequence[Encoded],
    labels: Ints,
    chains: Sequence[str],
    texts: Sequence[Sequence[int]],
    z: Tensor,
    norms: Floats,
    active: Bools,
    plan: Plan,
    rng: np.random.Generator,
    batch: int,
    progress: Callable[[int, int, str], None],
) -> AblationEffects:
    """Run everything. z [row layer head d_head]: head outputs of the train rows, whose mean replaces a removed head;
    norms [layer head] how much removing a head takes away; active [layer head] heads that may be removed."""
    shape = (model.record.n_layers, model.record.n_heads)
    size = equal_size(int(active.sum()), plan.size)
    sets = [
        tuple(r[: e if plan.rule == "elbow" else size].tolist()) for r, e in zip(plan.ranked, plan.elbows, strict=True)
    ]
    common = Variants.stacked([Variants.removed(sets, shape, how, plan.scale) for how in HOWS])
    mean = z.float().mean(0)
    cached = check_cache(model)
    packed = cached and check_branches(model)
    own, draws = [], [0, 0, 0]
    for function in range(len(sets)):
        made, matched = _own(plan, function, sets, shape, norms, active, rng)
        own.append(made)
        for m in matched:
            draws = [draws[0] + m.layer_fallbacks, draws[1] + m.norm_fallbacks, draws[2] + m.heads.size]
    found: dict[int, Answers] = {}
    for text in passes(rows):
        progress(len(found), len(rows), "ablation")
        asked = [rows[i] for i in text.examples]
        ids = text.ids[: max(row.first for row in asked)]
        variants = [Variants.stacked([common, own[labels[i]].variants]) for i in text.examples]
        scored = [len(common) + 1 + own[labels[i]].random for i in text.examples]  # curves are of right answers
        answers = Text(model, ids, mean, cached=cached, packed=packed).answers(asked, variants, scored)
        found.update(zip(text.examples, answers, strict=True))
    removed = Variants.removed([(), *sets], shape, plan.how, plan.scale)
    neutral = neutral_loss(model, texts, mean, removed, batch) if texts else np.full(len(sets) + 1, np.nan)
    progress(len(rows), len(rows), "ablation")
    return _gathered(
        [found[i] for i in range(len(rows))],
        len(common),
        own,
        labels,
        tuple(chains),
        sets,
        neutral,
        (draws[0], draws[1], draws[2]),
        cached,
    )


def _own(
    plan: Plan, function: int, sets: Sequence[Sequence[int]], shape: tuple[int, int], norms: Floats, active: Bools,
    rng: np.random.Generator,
) -> tuple[_Function, list[RandomSets]]:  # fmt: skip
    """Elbow set, random sets of the matrix's size, then the curve of the own heads and of random ones."""
    ranked, mine = plan.ranked[function], sets[function]
    sizes = curve_sizes(int(active.sum()))
    leading = ranked[: sizes[-1]].tolist()
    random, curve = (
        random_sets([divmod(int(flat), shape[1]) for flat in like], active, norms, count, rng)
        for like, count in ((mine, plan.random_sets), (leading, plan.curve_sets))
    )
    steps = [n for n in sizes[1:] if n <= curve.heads.shape[1]]
    off: list[Sequence[int]] = [ranked[: plan.elbows[function]].tolist(), *random.heads.tolist()]
    off += [ranked[:n].tolist() for n in steps]
    off += [row[:n].tolist() for row in curve.heads for n in steps]
    variants = Variants.removed(off, shape, plan.how, plan.scale)
    return _Function(variants, len(random.heads), len(curve.heads), (0, *steps)), [random, curve]


def _gathered(
    found: Sequence[Answers],
    common: int,
    own: Sequence[_Function],
    labels: Ints,
    chains: tuple[str, ...],
    sets: Sequence[tuple[int, ...]],
    neutral: Floats,
    fallbacks: tuple[int, int, int],
    cached: bool,
) -> AblationEffects:
    n, first = len(sets), own[0]
    right = np.array([one.right for one in found])
    start = 1 + first.random
    steps = len(first.sizes) - 1

    def of(name: str) -> npt.NDArray[Any]:
        """[item variant] of the outcomes; the variants of all functions come first."""
        return np.array([getattr(one.outcome, name) for one in found])

    logprob, correct = of("logprob")[:, common:], of("right")[:, common:]

    def curve(name: str, intact: Bools) -> tuple[Bools, Bools]:
        values = of(name)[:, common + start :]
        mine, others = values[:, :steps], values[:, steps:].reshape(len(found), first.curve, steps)
        at_none = np.broadcast_to(intact[:, None, None], (len(found), first.curve, 1))
        return np.column_stack([intact, mine]), np.concatenate([at_none, others], axis=2)

    def matrix(name: str) -> dict[str, npt.NDArray[np.generic]]:
        values = of(name)[:, :common]
        return {how: values[:, i * n : (i + 1) * n] for i, how in enumerate(HOWS)}

    curve_right, random_curve_right = curve("right", right)
    curve_unchanged, random_curve_unchanged = curve("unchanged", np.ones(len(found), dtype=bool))
    return AblationEffects(
        label=labels,
        chain=chains,
        intact=np.array([one.intact for one in found]),
        right=right,
        logprob=matrix("logprob"),  # type: ignore[arg-type]
        correct=matrix("right"),  # type: ignore[arg-type]
        unchanged=matrix("unchanged"),  # type: ignore[arg-type]
        elbow=logprob[:, 0],
        elbow_right=correct[:, 0],
        random=logprob[:, 1:start],
        random_right=correct[:, 1:start],
        curve_right=curve_right,
        curve_unchanged=curve_unchanged,
        random_curve_right=random_curve_right,
        random_curve_unchanged=random_curve_unchanged,
        sizes=first.sizes,
        sets=tuple(sets),
        neutral=neutral,
        fallbacks=fallbacks,
        cached=cached,
    )

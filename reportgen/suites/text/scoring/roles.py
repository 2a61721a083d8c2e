"""Narrow against wide: what share of all that a head writes on text is the role that a task, or a paper, gave it.

A role is told on text from tokens, the head's strongest key and, where the role is to write something, what the head's
output says by itself:

    induction, previous token, duplicate token   the strongest key is of that kind (classes.KINDS)
    name movers     the strongest key holds a capitalised word, and of the window's tokens the head raises that one most
                    (negative movers: lowers it most)
    pairs s -> t    the strongest key holds s, and of the list's targets the head raises t most (suppression: lowers)

The share is of the squared output norm over all queries. By chance: of induction and duplicate token, the kind of a key
at the same distance in another query; of the previous token, a key drawn from the row; of the others, the same test on
the keys three and four tokens before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.figures.markers import role as role_of
from reportgen.published import sets_for
from reportgen.scores import Head, HeadScores, HeadSet, Judged, SuiteResult, head_name
from reportgen.stats import mid_ranks
from reportgen.suites.base import Context
from reportgen.suites.facts import Number
from reportgen.suites.text.classes import KIND_WORDS, KINDS
from reportgen.suites.text.facts import Agreement, Wide
from reportgen.suites.text.scoring.measures import Ratio, Units
from reportgen.suites.text.scoring.statistics import Reading, Tally, Writers, strongest

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens

OF_KIND = {"induction": "induction", "previous_token": "previous", "duplicate_token": "duplicate"}
WRITERS = {"mover": 1, "backup": 1, "negative": -1, "backup_negative": -1}  # sign of what a name mover writes
BESIDE = (-4, -3, 3, 4)  # keys around the strongest one that stand for chance
MOST_ROWS = 200
BY_PLACE = ("sink", "self", "previous")  # kinds that the distance itself tells
RUNG = "natural text"
TEST = f"{RUNG} (wide)"


@dataclass(frozen=True, eq=False)
class Role:
    """What a set's heads were found to do, as a test on text.

    kind    index into KINDS, or -1
    pairs   token that is read -> token that is written; empty where the token itself is
    sign    1 raises, -1 lowers
    heads   of the set that are tested
    """

    set: HeadSet
    words: str
    heads: tuple[Head, ...] = ()
    kind: int = -1
    pairs: Mapping[int, int] = field(default_factory=dict)
    sign: int = 1

    @property
    def writes(self) -> bool:
        """Whether the test looks at what the head writes."""
        return self.kind < 0


def roles(tokens: Tokens, context: Context, hub_id: str, shape: tuple[int, int]) -> tuple[list[Role], list[HeadSet]]:
    """The testable roles of all sets that suites of this run computed or papers published for this model; and the sets
    that no test on tokens can tell."""
    published = sets_for(hub_id, "", shape) if hub_id else ()
    found: list[Role] = []
    without: list[HeadSet] = []
    known: set[tuple[object, ...]] = set()  # tests of a head: another set of one list's heads adds none
    for heads in (*(s for some in context.head_sets.values() for s in some), *published):
        if not heads.heads:
            continue
        role = _role(tokens, heads, context.results)
        if role is None:
            without.append(heads)
            continue
        test = (role.sign, *sorted(role.pairs.items()))
        new = tuple(head for head in heads.heads if not role.pairs or (head, *test) not in known)
        known |= {(head, *test) for head in new}
        found += [replace(role, heads=new)] if new else []
    return found, without


def _role(tokens: Tokens, heads: HeadSet, results: Mapping[str, SuiteResult]) -> Role | None:
    name = role_of(heads)
    if name in OF_KIND:
        kind = OF_KIND[name]
        return Role(heads, f"strongest key: {KIND_WORDS[kind]}", kind=KINDS.index(kind))
    if name in WRITERS and "name-mover" in heads.label.lower().replace(" ", "-"):
        does = "raises" if WRITERS[name] > 0 else "lowers"
        return Role(heads, f"strongest key: a capitalised word, which the head {does} most of the window's tokens",
                    sign=WRITERS[name])  # fmt: skip
    sign = -1 if "suppress" in heads.key.rsplit("/", 1)[-1] else 1
    pairs = _pairs(tokens, heads, results)
    if not pairs:
        return None
    does = "raises" if sign > 0 else "lowers"
    task = heads.key.split("/")[1].replace("_", " ")
    return Role(heads, f"strongest key: a first word of {task}, whose second the head {does} most of the list's",
                pairs=pairs, sign=sign)  # fmt: skip


def _pairs(tokens: Tokens, heads: HeadSet, results: Mapping[str, SuiteResult]) -> dict[int, int]:
    """Of a set computed on pairs `s -> t`, the tokens; empty where its suite stored no such list."""
    suite, _, rest = heads.key.partition("/")
    task = rest.partition("/")[0]
    result = results.get(suite)
    if result is None:
        return {}
    listed = next(
        (a.labels["pair"] for name, a in result.arrays.items() if name.endswith(f"/{task}") and "pair" in a.labels), ()
    )
    found: dict[int, int] = {}
    for line in listed:
        read, arrow, written = line.partition(" -> ")
        ids = (tokens.word_id(read), tokens.word_id(written)) if arrow else (None, None)
        if ids[0] is not None and ids[1] is not None:
            found.setdefault(ids[0], ids[1])
    return found


@dataclass(eq=False)
class RoleEvents:
    """Squared output norm of the events of every role that is told from what the head writes, per window. A listener of
    `statistics.tally`.

    written, beside  [row window] of events of the role, and of the same with keys beside the strongest
    events           [row]
    """

    rows: list[tuple[Role, Head]]
    of: Writers
    first: int
    capital: npt.NDArray[np.bool_]  # [id]
    written: npt.NDArray[np.float64]
    beside: npt.NDArray[np.float64]
    events: npt.NDArray[np.int64]
    _targets: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def of_roles(
        cls, model: Model, found: Sequence[Role], of: Writers, first: int, count: int, ids: npt.NDArray[np.int64]
    ) -> RoleEvents:
        """Rows for every head of every role that writes; `ids` every token of the stream."""
        rows = [(role, head) for role in found if role.writes for head in role.heads][:MOST_ROWS]
        capital = np.zeros(int(ids.max(initial=0)) + 1, bool)
        for token in np.unique(ids).tolist():
            text = model.tokens.decode([token]).strip()
            capital[token] = len(text) > 1 and text[0].isupper()
        grid = (len(rows), count)
        return cls(rows, of, first, capital, np.zeros(grid), np.zeros(grid), np.zeros(len(rows), np.int64))

    def saw(
        self, layer: int, batch: Sequence[int], pattern: Tensor, z: Tensor, v: Tensor | None, norm: Tensor,
        dla: Tensor, read: Reading,
    ) -> None:  # fmt: skip
        """Look at the roles of one layer's heads."""
        for row, (role, (lay, head)) in enumerate(self.rows):
            if lay != layer:
                continue
            top = strongest(pattern[:, head, self.first :])  # [window query]
            own = z[:, self.first :, head]  # [window query d_head]
            size = norm[:, self.first :, head].square()
            holds, wanted = self._tests(role, layer, head, own, read)
            hit = self._is_event(holds, wanted, top, read) & (top > 0)
            self.written[row, list(batch)] = (size * hit).sum(1).cpu().double().numpy()
            self.events[row] += int(hit.sum())
            self.beside[row, list(batch)] = self._around(holds, wanted, top, size, read)

    def ended(self, batch: Sequence[int], sigma: Tensor) -> None:
        """Nothing waits for the end of a pass."""

    def _tests(self, role: Role, layer: int, head: int, own: Tensor, read: Reading) -> tuple[Tensor, Tensor]:
        """holds [token] -> what the head must write where its key holds the token, -1 nothing counts; wanted [window
        query] what it writes: a place among the batch's tokens, or among the list's targets."""
        W_O = self.of.W_O[layer][head]  # [d_head d_model]
        if not role.pairs:
            logits = role.sign * (own @ (W_O @ read.directions.T))
            logits = logits.masked_fill(~read.inside[:, None], -torch.inf)
            ids = read.tokens.cpu().numpy()
            holds = torch.from_numpy(np.where(self.capital[ids], np.arange(len(ids)), -1)).to(own.device)
            return holds, logits.argmax(-1)
        key = id(role)
        if key not in self._targets:
            targets = torch.tensor(sorted(set(role.pairs.values())), device=own.device)
            self._targets[key] = targets, self.of.toward(targets)
        targets, directions = self._targets[key]
        place = {int(t): i for i, t in enumerate(targets.tolist())}
        holds = torch.tensor([place.get(role.pairs.get(int(t), -1), -1) for t in read.tokens.tolist()],
                             device=own.device)  # fmt: skip
        return holds, (role.sign * (own @ (W_O @ directions.T))).argmax(-1)

    @staticmethod
    def _is_event(holds: Tensor, wanted: Tensor, key: Tensor, read: Reading) -> Tensor:
        """[window query] whether the key's token asks for what the head writes."""
        asked = holds[read.own.gather(1, key)]
        return (asked >= 0) & (asked == wanted)

    def _around(
        self, holds: Tensor, wanted: Tensor, top: Tensor, size: Tensor, read: Reading
    ) -> npt.NDArray[np.float64]:
        """[window] the mean of the same over the keys BESIDE the strongest one that there are."""
        query = torch.arange(self.first, self.first + top.shape[1], device=top.device)
        total, count = torch.zeros_like(size), torch.zeros_like(size)
        for shift in BESIDE:
            key = top + shift
            there = (key >= 1) & (key <= query) & (top > 0)
            hit = self._is_event(holds, wanted, key.clamp(0, read.own.shape[1] - 1), read) & there
            total += size * hit
            count += there
        return np.asarray((total / count.clamp_min(1)).sum(1).cpu().double().numpy())


def wide(
    found: Sequence[Role], events: RoleEvents, text: Tally, units: Units, results: Mapping[str, SuiteResult],
    draws: int, rng: np.random.Generator,
) -> list[Wide]:  # fmt: skip
    """A row per head and role, in the order of sets."""
    kinds, null = text.sum_of("kind"), text.sum_of("kind_null")  # [window layer head kind]
    whole = kinds.sum(-1)
    lengths = [(c.queries, text.first) for c in text.counts]
    uniform = np.array([np.mean(1.0 / np.arange(first + 1, first + queries + 1)) for queries, first in lengths])
    place = {(id(role), head): row for row, (role, head) in enumerate(events.rows)}
    rows = []
    for role, head in _pairs_of(found):
        below = whole[:, head[0], head[1]][:, None, None]
        if role.writes:
            if (id(role), head) not in place:
                continue
            at = place[id(role), head]
            top, chance, count = events.written[at], events.beside[at], int(events.events[at])
        else:
            top, chance = kinds[:, head[0], head[1], role.kind], null[:, head[0], head[1], role.kind]
            chance = below[:, 0, 0] * uniform if KINDS[role.kind] in BY_PLACE else chance
            count = 0
        ratio = Ratio(top[:, None, None], below)
        ends = units.interval(ratio, draws, rng, (0.0, 1.0))
        low, high = (float("nan"), float("nan")) if ends is None else (float(e[0, 0]) for e in ends)
        scores = _scores_of(role.set, results)
        rows.append(Wide(
            head=head_name(*head), set=role.set.key, label=role.set.label, role=role.words,
            share=Number(ratio.value[0, 0]), low=Number(low), high=Number(high),
            chance=Number(chance.sum() / max(below.sum(), 1e-30)), events=count,
            narrow=Number("nan" if scores is None else scores.values[head]),
            narrow_key="" if scores is None else scores.key,
            narrow_rank=0 if scores is None else _rank(scores, head),
        ))  # fmt: skip
    return rows


def _pairs_of(found: Sequence[Role]) -> Iterator[tuple[Role, Head]]:
    seen: set[tuple[str, Head]] = set()
    for role in found:
        for head in role.heads:
            if (role.set.key, head) not in seen:
                seen.add((role.set.key, head))
                yield role, head


def _scores_of(heads: HeadSet, results: Mapping[str, SuiteResult]) -> HeadScores | None:
    """The narrow score that a set was picked by, where the run has it."""
    return next((s for r in results.values() for s in r.scores if s.key == heads.score), None)


def _rank(scores: HeadScores, head: Head) -> int:
    """1-based place by size; 0 where the head has no exact value."""
    if not scores.exact[head]:
        return 0
    size = np.abs(scores.values) if scores.range[0] < 0 else scores.values
    return 1 + int((size[scores.exact] > size[head]).sum())


def agreements(
    found: Sequence[Role], text: Tally, results: Mapping[str, SuiteResult], draws: int, rng: np.random.Generator
) -> list[Agreement]:
    """Spearman's correlation over heads of a narrow score with the share of writing on text of that kind, for roles
    that are kinds of keys; intervals resample heads."""
    kinds = text.sum_of("kind").sum(0)
    shares = kinds / np.maximum(kinds.sum(-1, keepdims=True), 1e-30)
    made: dict[str, Agreement] = {}
    for role in found:
        scores = _scores_of(role.set, results)
        if role.writes or scores is None or scores.key in made:
            continue
        known = scores.exact & np.isfinite(shares[..., role.kind])
        x, y = scores.values[known].astype(float), shares[..., role.kind][known]
        if len(x) < 8 or np.ptp(x) == 0 or np.ptp(y) == 0:
            continue
        sample = [_spearman(x[at], y[at]) for at in rng.integers(0, len(x), (min(draws, 1000), len(x)))]
        low, high = np.nanquantile(sample, (0.025, 0.975))
        made[scores.key] = Agreement(
            narrow=scores.key, label=scores.label, kind=KINDS[role.kind], heads=len(x),
            spearman=Number(_spearman(x, y)), low=Number(low), high=Number(high),
        )  # fmt: skip
    return list(made.values())


def _spearman(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    a, b = mid_ranks(x), mid_ranks(y)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def judged(rows: Sequence[Wide]) -> tuple[Judged, ...]:
    """The rung of every set with a testable role: a head passes where the role's share of what it writes on text lies
    beyond chance with its whole interval."""
    outcomes: dict[str, dict[str, str]] = {}
    for row in rows:
        known = np.isfinite(row.low) and np.isfinite(row.chance)
        outcome = "not run" if not known else "passed" if row.low > row.chance else "failed"
        outcomes.setdefault(row.set, {})[row.head] = outcome
    return tuple(Judged(key, TEST, by_head, replaces=RUNG) for key, by_head in outcomes.items())

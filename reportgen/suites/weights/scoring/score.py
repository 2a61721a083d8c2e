"""Scores every head and every pair of heads from the weights. Formulas: the measures in suite.py.

Arrays:

    participation/NAME            [layer head] (sum|lambda|)^2 / sum|lambda|^2 behind an eigenvalue score
    ranks/ov, ranks/qk            [word layer head] uint32, twice the mid-rank of the word's own column from the bottom
                                  of the vocabulary, and of its own key from the top of the keys
    winners/CLASS                 [word layer head] int16, index of the class's word with the largest logit; -1: a tie
    profile                       [layer head distance] matching at a distance, rotary models
    composition/KIND/NAME         [writer reader] float16, heads layer by layer: excess, z, within, overlap, and raw
                                  (within, of raw weights); NaN where the writer is in no earlier layer
    overlap/values                [group other] float16, key-value heads layer by layer: overlap of value subspaces
    sender                        [layer head] int32, layer*n_heads + head of the strongest key-composition partner; -1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from reportgen.errors import NotApplicable
from reportgen.scores import Column, HeadScores, HeadSet, NamedArray, NotComputed, SuiteResult, Table, head_name
from reportgen.suites.base import Context
from reportgen.suites.facts import encoded
from reportgen.suites.settings import switched_off
from reportgen.suites.twins import has_twin, random_twins
from reportgen.suites.weights.facts import ClassFacts, Kind, Pair, ValuePair, Values, WeightsFacts, group_name
from reportgen.suites.weights.scoring import eigen, measure, results, successor
from reportgen.suites.weights.scoring.composition import Composition
from reportgen.suites.weights.scoring.measure import Measured, Pass
from reportgen.suites.weights.suite import KINDS, MEASURES, Settings, composition_kinds, raw_composition

if TYPE_CHECKING:
    from reportgen.models.weights import Weights

TWIN_WORDS = 100  # suppression of the twin is a control, on fewer words
CORRELATED = (
    ("copying", "copying_raw"), ("copying", "copying_mlp"), ("copying", "copying_residual"),
    ("matching", "matching_raw"),
)  # fmt: skip
NARROW = 0.25  # of d_head: fewer directions than that carry the sum


def score(model: Weights, settings: Settings, context: Context) -> SuiteResult:
    """All measures of every head, pairs of heads, nulls and the random twin.

    Raises NotApplicable where no head's weights are finite.
    """
    twins = bool(settings.twins) and has_twin(model)
    total, done = model.record.n_layers * (1 + twins), 0

    def tick() -> None:
        nonlocal done
        done += 1
        context.progress(done, total, "layers")

    found = Pass(model, settings, context.seed, tick, nulls=True).run()
    found.counts["d_head"] = model.record.d_head
    if found.broken["ov"].all() and found.broken["qk"].all():
        raise NotApplicable("no head has finite weights: NaN or infinite values in every layer's attention.")
    twin = None
    less = replace(settings, words=min(settings.words, TWIN_WORDS), raw=False)
    for other in random_twins(model, [context.seed + 1] if twins else []):
        twin = Pass(other, less, context.seed, tick, nulls=False).run()
        twin.counts["d_head"] = model.record.d_head
    scores = results.all_scores(found, twin, settings, context.seed, model.record.d_model)
    kinds = {
        kind: _kind(one, found.raw.get(kind), twin.pairs.get(kind) if twin else None, model, settings)
        for kind, one in found.pairs.items()
    }
    values = _values(found, twin, model, settings)
    return SuiteResult(
        suite="weights",
        scores=tuple(scores),
        head_sets=tuple(_sets(scores, settings)),
        tables=(*_tables(found, kinds, values),),
        arrays=_arrays(found),
        facts=encoded(_facts(model, found, kinds, values, settings, context.seed, twin is not None)),
        notes=tuple(_notes(model, found)),
        not_computed=tuple(_left_out(model, scores, found, settings, twins=twins)),
    )


def _kind(one: Composition, raw: Composition | None, twin: Composition | None, model: Weights, s: Settings) -> Kind:
    """Counts beyond the lines, and the strongest pairs."""
    n_heads, known = model.record.n_heads, one.known
    count = int(known.sum())
    if not count:
        return Kind()
    log_p, within = float(np.log(s.alpha / count)), float(norm.isf(s.alpha / count))
    beyond = known & (one.log_p <= log_p)
    both = beyond & (np.nan_to_num(one.within, nan=-np.inf) >= within)
    ordered = np.argsort(-np.where(np.isfinite(one.within), one.within, -np.inf), axis=None, kind="stable")
    top: list[Pair] = []
    places = None if raw is None else results.descending(raw.within)
    for rank, flat in enumerate(ordered.tolist(), start=1):
        if len(top) == s.pairs or rank > int(both.sum()) + count // 2:
            break
        at = np.unravel_index(flat, known.shape)
        if both[at]:
            names = [head_name(*divmod(int(i), n_heads)) for i in at]
            numbers = (float(grid[at]) for grid in (one.excess, one.z, one.within))
            top.append(
                Pair(
                    writer=names[0],
                    reader=names[1],
                    **dict(zip(("excess", "z", "within"), numbers, strict=True)),
                    rank=rank,
                    raw_rank=None if places is None else int(places[at]),
                )
            )
    whole, blocks = (None, None) if raw is None else results.agreement(one.excess, raw.excess, n_heads)
    of_twin = None if twin is None or not twin.known.any() else twin
    return Kind(
        pairs=count, beyond=int(beyond.sum()), beyond_both=int(both.sum()), log_p=log_p, within=within,
        median=float(np.median(one.excess[known])), overlap_z=float(np.nanmedian(one.overlap_z[known])), top=top,
        raw=whole, raw_within=blocks,
        twin=None if of_twin is None else float(np.median(of_twin.excess[of_twin.known])),
        twin_beyond=None if of_twin is None else int((of_twin.log_p[of_twin.known] <= log_p).sum()),
    )  # fmt: skip


def _values(found: Measured, twin: Measured | None, model: Weights, s: Settings) -> Values:
    """Counts beyond the line, and the pairs of key-value heads that read most alike."""
    one, r = found.values, model.record
    if one is None or not one.pairs:
        return Values(groups=r.n_layers * r.n_kv_heads)
    upper = np.triu_indices(len(one.z), 1)
    overlap, z = one.overlap[upper], one.z[upper]
    known, line = np.isfinite(overlap), float(norm.isf(s.alpha / one.pairs))
    order = np.argsort(-np.where(known, overlap, -np.inf), kind="stable")[: min(s.pairs, one.pairs)]
    names = [group_name(i, r.n_kv_heads, r.n_heads) for i in range(len(one.z))]
    top = [
        ValuePair(one=names[upper[0][i]], other=names[upper[1][i]], overlap=float(overlap[i]), z=float(z[i]))
        for i in order.tolist()
    ]
    other = None if twin is None or twin.values is None else twin.values.z[upper]
    some = other is not None and np.isfinite(other).any()
    return Values(
        groups=len(one.z), pairs=one.pairs, beyond=int((z > line).sum()), line=line, top=top,
        median=float(np.median(overlap[known])), z=float(np.median(z[known])),
        twin=float(np.nanmedian(other)) if other is not None and some else None,
        twin_beyond=int((other > line).sum()) if other is not None and some else None,
    )  # fmt: skip


def _sets(scores: Sequence[HeadScores], s: Settings) -> list[HeadSet]:
    """Successor heads and copy suppressors of this model, where there are any."""
    by_name = {one.measure: one for one in scores}
    wanted = (
        ("successor", "successor_heads", "Successor heads", s.successor_threshold),
        ("suppression", "copy_suppressors", "Copy suppressors", s.suppressor_threshold),
    )
    found = []
    for name, key, label, least in wanted:
        one = by_name.get(name)
        if one is None or one.p is None:
            continue
        heads = tuple(h for h in one.ranking() if one.values[h] >= least and one.p[h] <= s.alpha)
        if heads:
            rule = f"{one.label} >= {least:g} and family-wise p <= {s.alpha:g}"
            found.append(HeadSet(f"weights/{name}/{key}", label, heads, "By their weights",
                                 "computed: weights of this model", rule, score=one.key))  # fmt: skip
    return found


def _arrays(found: Measured) -> dict[str, NamedArray]:
    both = ("layer", "head")
    arrays = {
        name: NamedArray(both, grid.astype(np.float32))
        for name, grid in found.grids.items() if name.startswith("participation/")
    }  # fmt: skip
    labels = {"word": tuple(str(token) for token in found.words)}
    arrays |= {f"ranks/{part}": NamedArray(("word", *both), grid, labels) for part, grid in found.ranks.items()}
    for one in found.winners:
        words = {"word": tuple(one.of.of.words[place] for place in one.of.places)}
        arrays[f"winners/{one.of.of.name}"] = NamedArray(("word", *both), one.winner, words)
    if found.profile is not None and np.isfinite(found.profile).any():
        distances = {"distance": tuple(str(d) for d in eigen.DISTANCES)}
        arrays["profile"] = NamedArray((*both, "distance"), found.profile.astype(np.float32), distances)
    for kind, pairs in found.pairs.items():
        grids = {name: getattr(pairs, name) for name in ("excess", "z", "within", "overlap")}
        if kind in found.raw:
            grids["raw"] = found.raw[kind].within
        for name, grid in grids.items():
            half = np.clip(grid, -6e4, 6e4).astype(np.float16)
            arrays[f"composition/{kind}/{name}"] = NamedArray(("writer", "reader"), half)
    if found.values is not None and found.values.pairs:
        arrays["overlap/values"] = NamedArray(("group", "other"), found.values.overlap.astype(np.float16))
    if found.senders is not None:
        arrays["sender"] = NamedArray(both, found.senders)
    return arrays


def _facts(
    model: Weights,
    found: Measured,
    kinds: dict[str, Kind],
    values: Values,
    s: Settings,
    seed: int,
    twin: bool,
) -> WeightsFacts:
    r, turns = model.record, [model.rotary(layer) for layer in range(model.record.n_layers)]
    token = model.tokens.bos_id
    spread = NARROW * r.d_head
    narrow = {
        name.removeprefix("participation/"): int((grid < spread).sum())
        for name, grid in found.grids.items() if name.startswith("participation/")
    }  # fmt: skip
    lost = results.Lost.of(found)
    first = next((turn for turn in turns if turn is not None), None)
    return WeightsFacts(
        n_heads=r.n_layers * r.n_heads, d_model=r.d_model, d_head=r.d_head, tokens=found.counts.get("tokens", 0),
        mlp_tokens=found.counts.get("mlp_tokens", 0), words=len(found.words), keys=found.keys, k=s.k,
        rotations=s.rotations, permutations=s.permutations, alpha=s.alpha, seed=seed, group=r.n_heads // r.n_kv_heads,
        phased=first is not None, turning=1.0 if first is None else 2 * len(first.frequencies) / r.d_head,
        qk_norm=any(scale is not None for scale in model.qk_norm_scales(0)),
        beginning=model.tokens.text(measure.first_token(model) if token is None else token), note=found.note,
        spread=spread, narrow=narrow, spearman=results.rank_correlations(found.grids, CORRELATED),
        inactive=[head_name(int(a), int(b)) for a, b in np.argwhere(lost.inactive)],
        classes=_class_facts(found), composition=kinds, values=values, twin_seed=seed + 1 if twin else None,
    )  # fmt: skip


def _class_facts(found: Measured) -> dict[str, ClassFacts]:
    out = {}
    for one in found.winners:
        shares = one.hits(successor.SUCCESSOR).mean(0)
        best = np.unravel_index(int(np.argmax(shares)), shares.shape)
        back = one.hits(successor.PREDECESSOR).mean(0)
        out[one.of.of.name] = ClassFacts(
            title=one.of.of.title, words=len(one.of.ids), listed=len(one.of.of.words), chance=1 / len(one.of.ids),
            shifts=len(one.shifts), best=head_name(int(best[0]), int(best[1])), best_share=float(shares[best]),
            best_predecessor=float(back[best]),
        )  # fmt: skip
    return out


def _tables(found: Measured, kinds: dict[str, Kind], values: Values) -> list[Table]:
    tables = []
    columns = (Column("through"), Column("rank"), Column("writer"), Column("reader"), Column("excess"), Column("z"),
               Column("z within layers"), Column("rank, raw weights"))  # fmt: skip
    rows = [
        (kind, pair.rank, pair.writer, pair.reader, pair.excess, pair.z, pair.within, pair.raw_rank)
        for kind, of in kinds.items() for pair in of.top[:10]
    ]  # fmt: skip
    if rows:
        caption = "The ten strongest pairs of each kind beyond both lines, by z within their two layers."
        tables.append(Table("weights/pairs", "Pairs of heads that compose", columns, tuple(rows), caption))
    if values.top:
        names = (Column("heads"), Column("and heads"), Column("overlap", digits=4), Column("z"))
        alike = tuple((pair.one, pair.other, pair.overlap, pair.z) for pair in values.top[:10])
        tables.append(Table("weights/values", "Value subspaces that overlap most", names, alike, folded=True))
    facts = _class_facts(found)
    if facts:
        of_class = (Column("class"), Column("words"), Column("listed"), Column("chance"), Column("best head"),
                    Column("successors"), Column("its predecessors"))  # fmt: skip
        lines = tuple(
            (f.title, f.words, f.listed, f.chance, f.best, f.best_share, f.best_predecessor) for f in facts.values()
        )
        tables.append(Table("weights/classes", "Classes of words in order", of_class, lines, folded=True))
    return tables


def _notes(model: Weights, found: Measured) -> list[str]:
    words, r = [], model.record
    if found.note:
        words.append(f"Every layer's successors read the token's embedding. {found.note}")
    if r.n_kv_heads < r.n_heads:
        group = r.n_heads // r.n_kv_heads
        words.append(f"Heads in groups of {group} share W_K and W_V: their scores are not independent.")
    if 2 * r.d_head > r.d_model:
        words.append(
            "d_head is more than half of d_model: the overlap's null has the right mean and sd but is not normal."
        )
    return words


def _left_out(
    model: Weights, scores: Sequence[HeadScores], found: Measured, s: Settings, *, twins: bool
) -> list[NotComputed]:
    """Measures without a score and controls that are missing, with the reason."""
    there: set[str] = {one.measure for one in scores}
    out: list[NotComputed] = []
    names = [one.name for one in MEASURES if one.name not in there]
    out += [NotComputed(f"measure {name}", _reason(name, model, found, s)) for name in names]
    kinds = composition_kinds(model.record, s)
    for kind in KINDS:
        if kinds and kind not in kinds:
            why = switched_off("weights", "composition") if s.composition != ("auto",) else (
                "it takes more than an hour here; type --set weights.composition=q,k,v"
            )  # fmt: skip
            out.append(NotComputed(f"composition through {kind}", why))
    if kinds and s.raw and not raw_composition(model.record, s):
        why = "a model of this size is composed with folded weights alone"
        out.append(NotComputed("composition with raw weights", why))
    if not twins:
        streamed = "not computed: streamed weights have no model to initialise"
        out.append(
            NotComputed("control: randomly initialised twin", streamed if s.twins else switched_off("weights", "twins"))
        )
    for name, what in (("rotations", "p of copying and matching"), ("permutations", "p of suppression and succession")):
        if not getattr(s, name):
            out.append(NotComputed(what, switched_off("weights", name)))
    return out


def _reason(name: str, model: Weights, found: Measured, s: Settings) -> str:
    lacking = found.lacking
    if name.startswith("composition") or name == "induction_matching":
        if model.record.n_layers < 2:
            return "the model has one layer"
        if not s.composition or (name == "induction_matching" and "k" not in found.pairs):
            return switched_off("weights", "composition")
    if name == "qk_slow":
        return "the model has no rotary positions"
    if name.startswith("sink"):
        return lacking.get("sink", "no residual at position 0")
    if "vocabulary" in lacking:
        return lacking["vocabulary"]
    if name.endswith("_raw"):
        return switched_off("weights", "raw")
    if name.startswith("suppression"):
        return lacking.get("suppression") or switched_off("weights", "words")
    if name in results.STEPS:
        return lacking.get("successor", "no class of words in order")
    if name == "copying_mlp":
        return lacking.get("first_mlp", "no first MLP")
    return "not in this model"

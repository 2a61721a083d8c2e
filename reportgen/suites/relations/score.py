"""Scores every head on every relation. Static: weights only, no prompt is run. Formulas: the measures in suite.py.

Arrays, per relation STEM, [pair layer head] uint32 with labels for "pair" ("source -> target"):

    ranks/STEM              twice the mid-rank of the target; 0 = not computed
    ranks_suppression/STEM  the same with the signs turned
    ranks_strict/STEM       twice the mid-rank without the source's column; 0 also where target = source

Tables: relations (a row per relation), top_heads (five heads per relation), coverage (pairs kept per pair list),
several_categories (heads that implement relations of more than one category).
Head sets: relations/STEM/score, /suppression, /adjusted: heads with at least tau, where there are any.

Facts, JSON values; MEASURE stands for score, suppression, strict, adjusted, folded:

    tau, alpha, permutations, seed, d_vocab         as used
    n_heads, n_tested, inactive                     all heads; those that have scores; names of the inactive ones
    first_mlp                                       whether layers >= 1 read MLP_0(LN2_0(e)) in place of e
    twin_seeds, matched_seeds                       seeds of the controls that were scored, [] = none
    spearman_folded                                 median over relations of the rank correlation raw / folded, or None
    control_categories: {"twin" | "matched": {"score" | "adjusted": {category or "All Categories": mean heads}}}
    relations: {STEM: {
      title, category, copying, provenance          from relations.toml
      k, k_over_vocab                               k / number of columns of W_U: the chance level of score
      n_pairs, n_raw, n_sources, n_targets          kept and listed pairs; distinct sources and targets among the kept
      n_apart                                       kept pairs with target != source: the n of strict and adjusted
      n_heads_at_tau: {MEASURE: count}              heads with at least tau, compared in whole numbers
      heads_at_tau: {MEASURE: ["L9H6", ...]}        the same by name, highest first
      n_significant: {MEASURE: count or None}       heads with adjusted p <= alpha; None: no null. Not for folded
      n_bh: {MEASURE: count or None}                Benjamini-Hochberg at alpha; None: B can't resolve it
      copier: {"embedding": C, "first_mlp": C or None}
          the ideal copier on either input; C = {"score", "suppression", "strict", "adjusted"}, None = no pair
      twin, matched: {"max", "n_at_tau", "n_heads", "draws"} or None
          highest score of the control's heads; how many of all draws' n_heads reach tau
      best: {"score" | "suppression" | "adjusted": B or None}
          B = {"head", "value", "low", "high", "n", "n_targets", "chosen_n"}: the head that is best on one half of
          the pairs (chosen_n pairs, split by distinct target), estimated on the
          other half (n pairs); the interval takes pairs that share a target as one cluster
      spearman_folded                               rank correlation of score and folded over heads, or None
    }}

experiments.py adds prompts, ablations and salient tokens, with the facts dynamic, multi_token, ablation and salient.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.scores import NamedArray, NotComputed, SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.relations import summary
from reportgen.suites.relations.categories import several_table
from reportgen.suites.relations.controls import Folded, Matched, twin_of
from reportgen.suites.relations.data import Kept, keep, load_relations
from reportgen.suites.relations.engine import Ranker
from reportgen.suites.relations.experiments import experiments
from reportgen.suites.relations.null import ADJUSTED, MAX_CELLS, Cells, HitTables, Permutations
from reportgen.suites.relations.pairs import PairIndex
from reportgen.suites.relations.passes import Inputs, Pass, mirrored, rank_all, read_inputs
from reportgen.suites.relations.plan import too_few
from reportgen.suites.relations.results import RelationResult, Shares, relation_result, shares
from reportgen.suites.relations.suite import RelationsSettings
from reportgen.suites.settings import switched_off

if TYPE_CHECKING:
    from reportgen.models.model import Weights


@dataclass(frozen=True, eq=False)
class Job:
    """One model's relations, made ready: `ks` and every mapping below go by the relation's stem."""

    weights: Weights
    settings: RelationsSettings
    kept: Sequence[Kept]
    ks: Mapping[str, int]
    inputs: Inputs
    ranker: Ranker
    seed: int
    tick: Callable[[], None]  # one layer of one pass is done

    @property
    def n_layers(self) -> int:
        return self.weights.record.n_layers


def score(model: Weights, settings: RelationsSettings, context: Context) -> SuiteResult:
    """All measures of every head, with nulls and controls.

    Raises DataError for a malformed pair list, SettingsError for an unknown relation, NotApplicable where no relation
    keeps enough pairs on the model's tokenizer.
    """
    lists = [keep(relation, model.tokens) for relation in load_relations(settings.relations_dir, settings.only)]
    job = prepare(model, [k for k in lists if len(k.pairs) >= settings.min_pairs], settings, context)
    copiers, raw, nulls = score_raw(job)
    folded = None
    if folds(model, settings):
        folded = rank_all(job.ranker, Folded(model).maps, job.inputs, job.n_layers, job.tick)
    controls = {"twin": score_twins(job), "matched": score_matched(job, copiers["embedding"])}
    results = [
        relation_result(k, job.ks[k.relation.stem], settings, raw, folded, copiers, controls, nulls, job.seed)
        for k in job.kept
    ]
    static = SuiteResult(
        suite="relations",
        scores=tuple(scores for result in results for scores in result.scores.values()),
        head_sets=tuple(heads for result in results for heads in summary.head_sets(result, settings.tau)),
        tables=(
            summary.relations_table(results, settings, raw.ranker.d_vocab),
            summary.top_heads_table(results),
            summary.coverage_table(lists, settings.min_pairs),
        ),
        arrays={name: array for result in results for name, array in evidence(result, raw.ranker.d_vocab).items()},
        facts=summary.facts(results, raw, job.inputs, settings, job.seed, twins=bool(controls["twin"])),
        notes=tuple(notes(job, results)),
        not_computed=tuple(left_out(job, lists, folded, nulls, twins=bool(controls["twin"]))),
    )
    static = replace(static, tables=(*static.tables, *several_table(static, settings.tau)))
    return experiments(job, lists, static, context)


def prepare(model: Weights, kept: Sequence[Kept], settings: RelationsSettings, context: Context) -> Job:
    """Inputs, buffers and the unique pairs of all relations."""
    if not kept:
        why = f"No relation keeps {settings.min_pairs} pairs whose words are single tokens of this model's tokenizer."
        raise NotApplicable(why, "Give lists of such words: --relations DIR.")
    d_vocab = model.record.d_vocab
    ks = {k.relation.stem: k.relation.k or settings.rank_limit(d_vocab, k.relation.copying) for k in kept}
    if max(ks.values()) + 1 >= d_vocab:
        raise NotApplicable(
            f"k = {max(ks.values())} leaves no room in a vocabulary of {d_vocab} tokens.",
            "Set smaller ones: --set relations.k=1 --set relations.k_copying=1.",
        )
    pairs = PairIndex.build({k.relation.stem: (k.sources, k.targets) for k in kept})
    inputs = read_inputs(model, pairs.sources, first_mlp=settings.first_mlp)
    # Strict and adjusted ranks leave one column out, so ranks must be exact to one beyond k.
    limit = max(max(ks.values()), 1) + 1
    ranker = Ranker(model.W_U(), pairs, limit=limit, chunk=settings.chunk, tile_mib=settings.tile_mib)
    passes = 1 + folds(model, settings) + settings.matched + (settings.twins if twin_of(model) else 0)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        context.progress(done, passes * model.record.n_layers, "layers")

    return Job(model, settings, kept, ks, inputs, ranker, context.seed, tick)


def folds(model: Weights, settings: RelationsSettings) -> bool:
    """Whether there is anything to fold, and it is asked for."""
    return settings.folded and Folded(model).changes


def score_raw(job: Job) -> tuple[dict[str, Pass], Pass, dict[str, Permutations]]:
    """The ideal copiers, the model's own ranks, and the permuted scores of the relations that have a null."""
    ranker, record = job.ranker, job.weights.record
    cells = []
    if job.settings.permutations:
        small = [stem for stem in job.ks if Cells.count(stem, ranker.pairs) <= MAX_CELLS]
        cells = [Cells.build(stem, job.ks[stem], ranker.pairs, ranker.columns) for stem in small]
    sink = HitTables(cells, ranker, 1, {}) if cells else None
    copiers = {"embedding": copier_pass(ranker, job.inputs.first, sink)}
    if job.inputs.mlp:
        copiers["first_mlp"] = copier_pass(ranker, job.inputs.later)
    copied = {} if sink is None else {c.stem: sink.tables[c.stem][:, :, ADJUSTED, 0].astype(np.bool_) for c in cells}
    tables = HitTables(cells, ranker, record.n_heads, copied) if cells else None
    nulls = {}
    for c in cells:
        rng = np.random.default_rng([job.seed, zlib.crc32(c.stem.encode())])
        nulls[c.stem] = Permutations(c, job.settings.permutations, record.n_layers, record.n_heads, rng)

    def maps(layer: int) -> tuple[Tensor, Tensor]:
        return job.weights.W_V(layer), job.weights.W_O(layer)

    return copiers, rank_all(ranker, maps, job.inputs, job.n_layers, job.tick, tables, list(nulls.values())), nulls


def copier_pass(ranker: Ranker, x: Tensor, sink: HitTables | None = None) -> Pass:
    """The ideal copier on x [row d_model], as a model of one layer with one head."""
    return Pass(ranker, [ranker.copier(x, sink)], np.ones((1, 1), dtype=np.bool_), np.ones((1, 1)))


def score_twins(job: Job) -> list[dict[str, Shares]]:
    """Scores of the randomly initialised twins; none where the weights come without a model."""
    make = twin_of(job.weights) if job.settings.twins else None
    if make is None:
        return []
    return [_score_twin(job, make(seed)) for seed in summary.twin_seeds(job.settings, job.seed)]


def _score_twin(job: Job, twin: Weights) -> dict[str, Shares]:
    def maps(layer: int) -> tuple[Tensor, Tensor]:
        return twin.W_V(layer), twin.W_O(layer)

    settings, pairs = job.settings, job.ranker.pairs
    inputs = read_inputs(twin, pairs.sources, first_mlp=settings.first_mlp)
    ranker = Ranker(twin.W_U(), pairs, limit=job.ranker.limit, chunk=settings.chunk, tile_mib=settings.tile_mib)
    done = rank_all(ranker, maps, inputs, job.n_layers, job.tick)
    return shares(done, copier_pass(ranker, inputs.first), job.ks)


def score_matched(job: Job, copier: Pass) -> list[dict[str, Shares]]:
    """Scores of random OV maps with the singular values of each head's own."""
    draws = (Matched(job.weights, seed) for seed in summary.matched_seeds(job.settings, job.seed))
    done = (rank_all(job.ranker, draw.maps, job.inputs, job.n_layers, job.tick, norms_of=draw.norms) for draw in draws)
    return [shares(one, copier, job.ks) for one in done]


def evidence(result: RelationResult, d_vocab: int) -> dict[str, NamedArray]:
    """Ranks per pair, so that k, thresholds and intervals can be redone from the run folder."""
    stem, labels = result.stem, {"pair": result.kept.labels}
    ranks = {
        "ranks": result.raw.twice,
        "ranks_suppression": mirrored(result.raw.twice, d_vocab),
        "ranks_strict": result.raw.strict,
    }
    return {f"{name}/{stem}": NamedArray(("pair", "layer", "head"), grid, labels) for name, grid in ranks.items()}


def notes(job: Job, results: Sequence[RelationResult]) -> list[str]:
    """What a reader should know before the numbers."""
    words = [job.inputs.note] if job.inputs.note else []
    draws, alpha = job.settings.permutations, job.settings.alpha
    tested = max(int(np.isfinite(r.scores["score"].values).sum()) for r in results)
    if draws and all(r.bh["score"] is None for r in results):
        need = int(np.ceil(tested / alpha)) - 1
        words.append(
            f"Benjamini-Hochberg at {alpha:g} over {tested} heads cannot be resolved by {draws:,} permutations: "
            f"it takes {need:,}."
        )
    if job.weights.record.n_kv_heads < job.weights.record.n_heads:
        group = job.weights.record.n_heads // job.weights.record.n_kv_heads
        words.append(f"Heads in groups of {group} share W_V: their scores are not independent.")
    return words


def left_out(
    job: Job, lists: Sequence[Kept], folded: Pass | None, nulls: Mapping[str, Permutations], *, twins: bool
) -> list[NotComputed]:
    """Relations, measures and controls that the result does not have, and why."""
    settings = job.settings
    few = [k for k in lists if k.relation.stem not in job.ks]
    out = [NotComputed(f"relation {k.relation.stem}", too_few(k, settings.min_pairs)) for k in few]
    if folded is None:
        why = "the model's norms have no scales" if settings.folded else switched_off("relations", "folded")
        out.append(NotComputed("measure folded", why))
    if not twins:
        streamed = "not computed: streamed weights have no model to initialise"
        why = streamed if settings.twins else switched_off("relations", "twins")
        out.append(NotComputed("control: randomly initialised twin", why))
    if not settings.matched:
        out.append(NotComputed("control: OV maps with matched spectra", switched_off("relations", "matched")))
    if not settings.permutations:
        out.append(NotComputed("permuted-target null", switched_off("relations", "permutations")))
    why = f"more than {MAX_CELLS:,} sources x targets"
    without = [stem for stem in job.ks if settings.permutations and stem not in nulls]
    return [*out, *(NotComputed(f"permuted-target null of {stem}", why) for stem in without)]

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
      spearman_folded                               rank correlation of score and folded over heads, or None
    }}

`experiments` adds prompts, ablations and salient tokens, with the facts dynamic, multi_token, ablation and salient.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.models.prefix_cache import check_cache
from reportgen.scores import HeadScores, NamedArray, NotComputed, SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.pairs import KeptPairs, keep, load_relations
from reportgen.suites.relations.categories import several_table
from reportgen.suites.relations.scoring.ablation import AblationOptions, ablation
from reportgen.suites.relations.scoring.dynamic import DynamicOptions, dynamic, multi_token
from reportgen.suites.relations.scoring.near_ranks import NearRanks
from reportgen.suites.relations.scoring.ranks import LayerRanks, PairIndex, Ranker
from reportgen.suites.relations.scoring.results import (
    RelationResult,
    Shares,
    coverage_table,
    facts,
    head_sets,
    matched_seeds,
    relation_result,
    relations_table,
    shares,
    top_heads_table,
    twin_seeds,
)
from reportgen.suites.relations.scoring.salient import salient
from reportgen.suites.relations.scoring.static import (
    ADJUSTED,
    MAX_CELLS,
    Cells,
    Folded,
    HitTables,
    Inputs,
    MatchedSpectra,
    Permutations,
    RankPass,
    mirrored,
    rank_all,
    read_inputs,
)
from reportgen.suites.relations.suite import RelationsSettings, too_few
from reportgen.suites.settings import switched_off
from reportgen.suites.twins import has_twin, random_twins

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.weights import Weights


# What the relation suite adds to the static scores: prompts, ablations, salient tokens. Each part can be left out.
#
# Static scores come first and every part reads them; a part adds pieces to the result and never changes one.

STREAMED = "not computed: streamed weights have no forward pass"


def experiments(job: RelationJob, lists: Sequence[KeptPairs], result: SuiteResult, context: Context) -> SuiteResult:
    """`result` with the experiments that the settings ask for; without a forward pass, what it lacks and why."""
    s = job.settings
    result = _salient(job.weights, s, result, context) if s.salient_tokens else result
    wanted = {"dynamic scores": bool(s.sentences), "multi-token sources": s.multi_token, "ablation curves": s.ablation}
    if hasattr(job.weights, "run"):
        return _prompted(cast("Model", job.weights), job, lists, result, context)
    left_out = tuple(NotComputed(what, STREAMED) for what, on in wanted.items() if on)
    return replace(result, not_computed=result.not_computed + left_out)


def _by_stem(result: SuiteResult, measure: str) -> dict[str, HeadScores]:
    return {scores.task: scores for scores in result.scores if scores.measure == measure}


def _prompted(
    model: Model, job: RelationJob, lists: Sequence[KeptPairs], result: SuiteResult, context: Context
) -> SuiteResult:
    """The parts that run prompts."""
    s, cached = job.settings, check_cache(model)
    static, suppression = _by_stem(result, "score"), _by_stem(result, "suppression")
    options = DynamicOptions(s.sentences, s.min_pairs, s.dynamic_pairs, s.draws, s.as_printed, s.memory_mib, s.chunk)
    if s.sentences:
        pieces = dynamic(
            model, job.kept, job.ks, static, suppression, options,
            cached=cached, seed=job.seed, progress=context.progress,
        )  # fmt: skip
        result = pieces.onto(result)
    if s.multi_token:
        pieces = multi_token(
            model, [k.relation for k in lists], job.ks, static, suppression, options,
            cached=cached, in_text=s.multi_token_in_text, seed=job.seed, progress=context.progress,
        )  # fmt: skip
        result = pieces.onto(result)
    if s.ablation:
        plan = AblationOptions(s.removal, s.ablation_random, s.ablation_p_sets, s.ablation_prompts)
        pieces = ablation(
            model, job.kept, static, plan, cached=cached, seed=job.seed, progress=context.progress
        )  # fmt: skip
        result = pieces.onto(result)
    return result


def _salient(weights: Weights, s: RelationsSettings, result: SuiteResult, context: Context) -> SuiteResult:
    """The most salient tokens of every active head; weights alone."""
    scored = next(iter(_by_stem(result, "score").values())).values  # [layer head], NaN where inactive
    pieces = salient(
        weights, n_tokens=s.salient_tokens, n_outputs=s.salient_outputs, rare=s.salient_rare, first_mlp=s.first_mlp,
        active=np.isfinite(scored), chunk=s.chunk, progress=context.progress,
    )  # fmt: skip
    return pieces.onto(result)


@dataclass(frozen=True, eq=False)
class RelationJob:
    """One model's relations, made ready: `ks` and every mapping below go by the relation's stem."""

    weights: Weights
    settings: RelationsSettings
    kept: Sequence[KeptPairs]
    ks: Mapping[str, int]
    inputs: Inputs
    ranker: Ranker  # of the model's own heads, whose ranks are stored
    near: NearRanks  # of the others, of which hits are wanted
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
        folded = rank_all(job.near, Folded(model).maps, job.inputs, job.n_layers, job.tick)
    controls = {"twin": score_twins(job), "matched": score_matched(job, copiers["embedding"])}
    results = [
        relation_result(k, job.ks[k.relation.stem], settings, raw, folded, copiers, controls, nulls, job.seed)
        for k in job.kept
    ]
    static = SuiteResult(
        suite="relations",
        scores=tuple(scores for result in results for scores in result.scores.values()),
        head_sets=tuple(heads for result in results for heads in head_sets(result, settings.tau)),
        tables=(
            relations_table(results, settings, raw.ranker.d_vocab),
            top_heads_table(results),
            coverage_table(lists, settings.min_pairs),
        ),
        arrays={name: array for result in results for name, array in evidence(result, raw.ranker.d_vocab).items()},
        facts=facts(results, raw, job.inputs, settings, job.seed, twins=bool(controls["twin"])),
        notes=tuple(notes(job, results)),
        not_computed=tuple(left_out(job, lists, folded, nulls, twins=bool(controls["twin"]))),
    )
    static = replace(static, tables=(*static.tables, *several_table(static, settings.tau)))
    return experiments(job, lists, static, context)


def prepare(model: Weights, kept: Sequence[KeptPairs], settings: RelationsSettings, context: Context) -> RelationJob:
    """Inputs, buffers and the unique pairs of all relations."""
    if not kept:
        why = f"No relation keeps {settings.min_pairs} pairs whose words are single tokens of this model's tokenizer."
        raise NotApplicable(why, "Give lists of such words: --relations DIR.")
    d_vocab = model.record.d_vocab
    ks = {k.relation.stem: k.relation.k or settings.rank_limit(d_vocab, k.relation.copying) for k in kept}
    if max(ks.values()) + 1 >= d_vocab:
        raise NotApplicable(
            f"k = {max(ks.values())} is too large for a vocabulary of {d_vocab} tokens.",
            "Set smaller ones: --set relations.k=1 --set relations.k_copying=1.",
        )
    pairs = PairIndex.build({k.relation.stem: (k.sources, k.targets) for k in kept})
    inputs = read_inputs(model, pairs.sources, first_mlp=settings.first_mlp)
    # Strict and adjusted ranks leave one column out, so ranks must be exact to one beyond k.
    limit = max(max(ks.values()), 1) + 1
    W_U = model.W_U()
    ranker = Ranker(W_U, pairs, limit=limit, chunk=settings.chunk, tile_mib=settings.tile_mib)
    near = NearRanks.of(W_U, pairs, limit=limit, chunk=settings.chunk)
    passes = 1 + folds(model, settings) + settings.matched + settings.twins * has_twin(model)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        context.progress(done, passes * model.record.n_layers, "layers")

    return RelationJob(model, settings, kept, ks, inputs, ranker, near, context.seed, tick)


def folds(model: Weights, settings: RelationsSettings) -> bool:
    """Whether there is anything to fold, and it is asked for."""
    return settings.folded and Folded(model).changes


def score_raw(job: RelationJob) -> tuple[dict[str, RankPass], RankPass, dict[str, Permutations]]:
    """The ideal copiers, the model's own ranks, and the permuted scores of the relations that have a null."""
    ranker, record = job.ranker, job.weights.record
    cells = []
    if job.settings.permutations:
        small = [stem for stem in job.ks if Cells.count(stem, ranker.pairs) <= MAX_CELLS]
        cells = [Cells.build(stem, job.ks[stem], ranker.pairs, ranker.columns) for stem in small]
    sink = HitTables(cells, ranker, 1, {}) if cells else None
    copiers = {"embedding": copier_pass(ranker, ranker.copier(job.inputs.first, sink))}
    if job.inputs.mlp:
        copiers["first_mlp"] = copier_pass(job.near, job.near.copier(job.inputs.later))
    copied = {} if sink is None else {c.stem: sink.tables[c.stem][:, :, ADJUSTED, 0].astype(np.bool_) for c in cells}
    tables = HitTables(cells, ranker, record.n_heads, copied) if cells else None
    nulls = {}
    for c in cells:
        rng = np.random.default_rng([job.seed, zlib.crc32(c.stem.encode())])
        nulls[c.stem] = Permutations(c, job.settings.permutations, record.n_layers, record.n_heads, rng)

    def maps(layer: int) -> tuple[Tensor, Tensor]:
        return job.weights.W_V(layer), job.weights.W_O(layer)

    return copiers, rank_all(ranker, maps, job.inputs, job.n_layers, job.tick, tables, list(nulls.values())), nulls


def copier_pass(ranker: Ranker | NearRanks, found: LayerRanks) -> RankPass:
    """The ideal copier, as a model of one layer with one head."""
    return RankPass(ranker, [found], np.ones((1, 1), dtype=np.bool_), np.ones((1, 1)))


def score_twins(job: RelationJob) -> list[dict[str, Shares]]:
    """Scores of the randomly initialised twins; none where the weights come without a model."""
    return [_score_twin(job, twin) for twin in random_twins(job.weights, twin_seeds(job.settings, job.seed))]


def _score_twin(job: RelationJob, twin: Weights) -> dict[str, Shares]:
    def maps(layer: int) -> tuple[Tensor, Tensor]:
        return twin.W_V(layer), twin.W_O(layer)

    settings, pairs = job.settings, job.ranker.pairs
    inputs = read_inputs(twin, pairs.sources, first_mlp=settings.first_mlp)
    near = NearRanks.of(twin.W_U(), pairs, limit=job.near.limit, chunk=settings.chunk)
    done = rank_all(near, maps, inputs, job.n_layers, job.tick)
    return shares(done, copier_pass(near, near.copier(inputs.first)), job.ks)


def score_matched(job: RelationJob, copier: RankPass) -> list[dict[str, Shares]]:
    """Scores of random OV maps with the singular values of each head's own."""
    draws = (MatchedSpectra(job.weights, seed) for seed in matched_seeds(job.settings, job.seed))
    done = (rank_all(job.near, draw.maps, job.inputs, job.n_layers, job.tick, norms_of=draw.norms) for draw in draws)
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


def notes(job: RelationJob, results: Sequence[RelationResult]) -> list[str]:
    """What a reader should know before the numbers."""
    words = [job.inputs.note] if job.inputs.note else []
    draws, alpha = job.settings.permutations, job.settings.alpha
    tested = max(int(np.isfinite(r.scores["score"].values).sum()) for r in results)
    if draws and all(r.bh["score"] is None for r in results):
        need = int(np.ceil(tested / alpha)) - 1
        words.append(
            f"Benjamini-Hochberg at {alpha:g} over {tested} heads cannot be resolved by {draws:,} permutations: "
            f"{need:,} are needed."
        )
    if job.weights.record.n_kv_heads < job.weights.record.n_heads:
        group = job.weights.record.n_heads // job.weights.record.n_kv_heads
        words.append(f"Heads in groups of {group} share W_V: their scores are not independent.")
    return words


def left_out(
    job: RelationJob,
    lists: Sequence[KeptPairs],
    folded: RankPass | None,
    nulls: Mapping[str, Permutations],
    *,
    twins: bool,
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

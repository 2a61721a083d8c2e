"""Every head on running text: one pass over a stream of windows, its controls, and examples.

`arrays` of the result (`facts`: see ../facts.py):
    per_window     [measure window layer head] what the scores of one number are means of
    document       [window] its document;  window_tokens [window]
    offsets, classes [text layer head bin] mass by distance and by class: of text, and of the shuffled control
    kinds          [text layer head kind] share of the squared output norm by kind of the strongest key: of text, and
                   of keys at the same distances
    example_*      events of every head by decile of output norm (docs/runfolder.md)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from reportgen.aliases import Float32s
from reportgen.errors import NotApplicable
from reportgen.mini import corpus
from reportgen.mini.vocab import vocabulary
from reportgen.models.selfcheck import reasons_for, require_finite
from reportgen.scores import (
    Cell,
    Column,
    Control,
    HeadScores,
    HeldOut,
    NamedArray,
    NotComputed,
    SuiteResult,
    Table,
    head_name,
)
from reportgen.suites import documents, facts, sampled
from reportgen.suites.base import Context
from reportgen.suites.samples import held_out
from reportgen.suites.settings import switched_off
from reportgen.suites.text import classes
from reportgen.suites.text.facts import Quiet, TextFacts
from reportgen.suites.text.scoring import measures, quiet, roles, stream
from reportgen.suites.text.scoring.examples import Recorder, Sizes, norm_edges
from reportgen.suites.text.scoring.measures import Ratio, Units
from reportgen.suites.text.scoring.statistics import BINS, Listener, Tally, Writers, tally, writers
from reportgen.suites.text.scoring.stream import Stream
from reportgen.suites.text.suite import SUITE, TASK, Settings
from reportgen.suites.twins import random_twins

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens

TESTED = ("induction", "duplicate", "copy_next")  # claims with a null; `excess` of each class is one, too
FEATURED = (*TESTED, "previous")  # of which the best head is also measured on the other half
MOST_EVENTS = 40_000  # examples of all heads together; larger models get fewer of each head
SAMPLED = "text that the model wrote itself"
LEAST_HELD = 4  # windows on which quiet heads are ablated
QUIET_OFF = switched_off("text", "quiet_windows")
SHORT = f"fewer than {stream.LEAST_UNITS_TOKENS:,} tokens of text are one unit"


def read(model: Model, settings: Settings, context: Context) -> Stream:
    """The windows. NotApplicable where there is too little text, DataError for a file that can't be read."""
    tokens = model.tokens
    length = min(settings.tokens, model.record.n_ctx)
    if length - settings.first < 8:
        raise NotApplicable(
            f"its context has {model.record.n_ctx} tokens, of which the first {settings.first} do not count"
        )
    if settings.source == "samples":
        made = _sampled(model, settings.windows, length, context)
        return stream.of_ids(made, tokens, settings.windows, length, SAMPLED)
    if not settings.text_file and _is_mini(tokens):
        rows = corpus.windows(context.seed, settings.windows, min(length, corpus.LENGTH), heldout=True)
        each = rows.astype(np.int64)
        each = each[:, 1:] if tokens.bos_id is not None else each
        what = "held-out documents of the bundled model's own corpus (synthetic)"
        return stream.of_ids(list(each), tokens, settings.windows, length, what)
    return stream.of_text(tokens, settings.text_file, settings.windows, length)


def _sampled(model: Model, count: int, length: int, context: Context) -> list[npt.NDArray[np.int64]]:
    """`count` documents that the model writes, without the token that stands before them where it is BOS."""
    source = getattr(model.source, "tensors", None)
    if source is None:
        raise NotApplicable("its weights are not in memory, so that it can't write text")
    network = sampled.network(model, source, getattr(torch, model.record.dtype))
    made: list[npt.NDArray[np.int64]] = []
    side = 32  # documents side by side
    for index in range(-(-count // side)):
        noise = sampled.generator(context.seed, index, model.device)

        def told(done: int, index: int = index) -> None:
            context.progress(index * length + done, -(-count // side) * length, "sampling text")

        rows = sampled.sample_tokens(network, _starts(model.tokens, side), length, model.tokens.size, noise, told)
        made += list(rows[:, 1:] if model.tokens.bos_id is not None else rows)
    return made[:count]


def _starts(tokens: Tokens, count: int) -> list[list[int]]:
    if tokens.bos_id is None and tokens.document_mark() is None:
        return [[i % tokens.size] for i in range(count)]  # nothing stands before a document: any token does
    return sampled.openings(tokens, count)


def _is_mini(tokens: Tokens) -> bool:
    words = vocabulary()
    return tokens.size == len(words) and all(tokens.decode([i]) == word for i, word in enumerate(words))


@dataclass(frozen=True, eq=False)
class Passes:
    """What was run: text, the shuffled control where there is one, twins, and what was kept of examples."""

    text: Tally
    shuffled: Tally | None
    twins: tuple[Tally, ...]
    recorder: Recorder | None
    events: roles.RoleEvents
    means: quiet.MeanOutputs


@dataclass(frozen=True, eq=False)
class Several:
    """Listeners of one pass."""

    each: tuple[Listener, ...]

    def saw(self, *args: Any) -> None:
        for one in self.each:
            one.saw(*args)

    def ended(self, batch: Sequence[int], sigma: torch.Tensor) -> None:
        for one in self.each:
            one.ended(batch, sigma)


def run(
    model: Model, found: Stream, of: Writers, table: npt.NDArray[np.int64], known: Sequence[roles.Role],
    settings: Settings, context: Context,
) -> Passes:  # fmt: skip
    """All passes over the stream and its controls."""
    n_classes = len(classes.names(settings.classes))

    def pass_over(model: Model, of: Writers, windows: tuple[stream.Window, ...], words: str,
                  listener: Listener | None = None) -> Tally:  # fmt: skip
        told = lambda done, total: context.progress(done, total, words)  # noqa: E731
        return tally(model, windows, of, table, n_classes, settings.first, settings.batch, told, listener)

    recorder = _recorder(model, found, of, settings, context)
    ids = np.arange(len(table))[table >= 0]
    events = roles.RoleEvents.of_roles(model, known, of, settings.first, len(found.windows), ids)
    telling, _ = quiet.split(found.windows, context.seed, settings.quiet_windows)
    means = quiet.MeanOutputs(frozenset(telling), settings.first)
    several = Several((*([recorder] if recorder else []), events, *([means] if settings.quiet_windows else [])))
    text = pass_over(model, of, found.windows, "text", several)
    shuffled = None
    if settings.shuffled:
        mixed = found.shuffled(context.seed, settings.shuffled)
        shuffled = pass_over(model, of, mixed.windows, "shuffled text")
    twins = tuple(_twins(model, found, settings, context, pass_over))
    return Passes(text, shuffled, twins, recorder, events, means)


def _twins(model: Model, found: Stream, settings: Settings, context: Context, pass_over: object) -> list[Tally]:
    assert callable(pass_over)
    some = tuple(stream.by_hash(found.windows, context.seed, settings.twin_windows))
    seeds = range(context.seed, context.seed + settings.twins)
    return [pass_over(twin, writers(twin), some, "random twin") for twin in random_twins(model, seeds)]


def sizes(settings: Settings, heads: int) -> Sizes:
    """Examples per head: those of the settings, fewer on models with many heads."""
    fits = max(1, MOST_EVENTS // heads)
    if settings.places <= fits:
        return Sizes(settings.examples_each, settings.examples_top, settings.examples_largest)
    return Sizes(min(1, settings.examples_each), min(2, settings.examples_top), min(1, settings.examples_largest))


def _recorder(model: Model, found: Stream, of: Writers, settings: Settings, context: Context) -> Recorder | None:
    if not settings.examples_top:
        return None
    some = stream.by_hash(found.windows, context.seed, settings.edge_windows)
    told = lambda done, total: context.progress(done, total, "deciles")  # noqa: E731
    edges = norm_edges(model, some, of, settings.first, settings.batch, told)
    kept = sizes(settings, model.record.n_layers * model.record.n_heads)
    return Recorder(model, found.windows, of, edges, kept, settings.first, context.seed)


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Score every head. Raises NotApplicable where there is too little text or context."""
    found = read(model, settings, context)
    every = np.concatenate([np.maximum(0, np.append(w.ids, w.following)) for w in found.windows])
    table = classes.table(model.tokens, every, settings.classes)
    of = writers(model)
    shape = (model.record.n_layers, model.record.n_heads)
    known, untested = roles.roles(model.tokens, context, model.record.hub_id, shape)
    passes = run(model, found, of, table, known, settings, context)
    left_out = np.asarray(~np.isfinite(passes.text.sums).all((0, 3)), np.bool_)  # [layer head]
    if left_out.all():
        require_finite(model, "activations of every head on text", passes.text.sums)
    units = Units(found.groups, single=found.tokens < stream.LEAST_UNITS_TOKENS)
    scores = _scores(passes, units, left_out, settings, context)
    missing = [] if settings.examples_top else [NotComputed("examples", switched_off("text", "examples_top"))]
    told = _facts(found, passes, units, table, settings)
    told.sliding = sliding(model)
    rng = np.random.default_rng([context.seed, 13])
    told.wide = roles.wide(known, passes.events, passes.text, units, context.results, settings.resamples, rng)
    told.agreements = roles.agreements(known, passes.text, context.results, settings.resamples, rng)
    told.untested = list(dict.fromkeys(heads.label for heads in untested))
    told.quiet = _quiet(model, found, passes, settings, context)
    missing += [] if settings.quiet_windows else [NotComputed("the ablation of quiet heads", QUIET_OFF)]
    arrays = _arrays(passes, found, left_out, told.sliding)
    if passes.recorder is not None:
        context.progress(0, 1, "examples")
        arrays |= passes.recorder.arrays(model, text=not settings.no_text)
        context.progress(1, 1, "examples")
    return SuiteResult(
        suite="text",
        scores=scores,
        tables=(_class_table(told, table, every, model.tokens), _head_table(scores)),
        arrays=arrays,
        facts=facts.encoded(told),
        notes=_notes(told),
        not_computed=tuple(missing),
        judged=roles.judged(told.wide),
    )


def _quiet(model: Model, found: Stream, passes: Passes, settings: Settings, context: Context) -> Quiet:
    """The quiet heads, and what their ablation takes away where there are any."""
    telling, held = quiet.split(found.windows, context.seed, settings.quiet_windows)
    honor = measures.ratios(passes.text)["honor_out"].each
    heads = quiet.quiet_heads(honor[telling], settings.quiet, settings.quiet_share)
    how = quiet.Ablation(settings.quiet, settings.quiet_share, settings.quiet_sets, settings.batch, context.seed)
    if not heads or len(held) < LEAST_HELD or len(heads) * 2 > honor[0].size:
        names = [head_name(*head) for head in heads]
        return Quiet(heads=names, below=facts.Number(settings.quiet), share=facts.Number(settings.quiet_share))
    told = lambda done, total: context.progress(done, total, "quiet heads")  # noqa: E731
    return quiet.ablated(model, [found.windows[i] for i in held], heads, passes.means, how, told)


def _scores(
    passes: Passes, units: Units, left_out: npt.NDArray[np.bool_], settings: Settings, context: Context
) -> tuple[HeadScores, ...]:
    rng = np.random.default_rng([context.seed, 11])
    names = classes.names(settings.classes)
    made = []
    text = measures.ratios(passes.text)
    others = {
        "shuffled text": (measures.ratios(passes.shuffled), passes.shuffled) if passes.shuffled else None,
        "random twin": (measures.ratios(passes.twins[0]), passes.twins[0]) if passes.twins else None,
    }
    for measure in SUITE.measures:
        if measure.name == "excess":
            for index, name in enumerate(names):
                controls = {k: measures.excess(o[1], index) for k, o in others.items() if o}
                of = measures.excess(passes.text, index)
                if np.array([c.classes[index] for c in passes.text.counts]).sum() > 0:
                    made.append(_score(measure.name, name, of, controls, units, left_out, settings, rng, context))
            continue
        controls = {k: o[0][measure.name] for k, o in others.items() if o}
        made.append(_score(measure.name, TASK, text[measure.name], controls, units, left_out, settings, rng, context))
    return tuple(made)


def _score(
    name: str, task: str, of: Ratio, controls: Mapping[str, Ratio], units: Units, left_out: npt.NDArray[np.bool_],
    settings: Settings, rng: np.random.Generator, context: Context,
) -> HeadScores:  # fmt: skip
    measure = SUITE.measure(name)
    values = np.where(left_out | ~np.isfinite(of.value), np.nan, np.clip(of.value, *measure.range))
    ends = units.interval(of, settings.resamples, rng, measure.range)
    tested = name in TESTED or name == "excess"
    p = units.p(of, settings.flips, rng) if tested else None
    gone = np.isnan(values)

    def grid(given: npt.NDArray[np.floating]) -> Float32s:
        return np.where(gone, np.nan, given).astype(np.float32)

    held = _held_out(of, units, measure.range, context.seed) if name in FEATURED and not left_out.any() else None
    unit = f" ({measure.unit})" if measure.unit else ""
    title = measure.title if task == TASK else f"Attention to {classes.title(task)}, beyond their share"
    return HeadScores(
        key=f"text/{name}/{task}",
        label=f"{title}{unit}",
        values=values.astype(np.float32),
        n=len(of.top),
        low=None if ends is None else grid(ends[0]),
        high=None if ends is None else grid(ends[1]),
        p=None if p is None else grid(p[0]),
        p_each=None if p is None else grid(p[1]),
        no_null="" if p is not None else _no_null(measure.null, tested, units),
        range=measure.range,
        reasons=_reasons(left_out, gone),
        held_out=held,
        controls=tuple(_controls(controls, measure.range)),
    )


def _held_out(of: Ratio, units: Units, bounds: tuple[float, float], seed: int) -> HeldOut | None:
    """The highest head of one half of the text on the other; None where a window has no value, or with one unit."""
    if units.count < 2 or not np.isfinite(of.each).all():
        return None
    low = min(0.0, bounds[0])  # lifted, since of signed values the largest in size would be picked
    labels = units.labels if units.are_documents else ()
    found = held_out(of.each - low, seed, of="text", groups=labels, bounds=(0.0, bounds[1] - low))
    if found is None:
        return None
    return replace(found, value=found.value + low, low=found.low + low, high=found.high + low)


def _no_null(null: str, tested: bool, units: Units) -> str:
    if not tested:
        return null.removeprefix("none: ")
    return SHORT if units.count < 2 else switched_off("text", "flips")


def _reasons(left_out: npt.NDArray[np.bool_], gone: npt.NDArray[np.bool_]) -> dict[str, str]:
    why = reasons_for(left_out, "activations are not finite on this text")
    return why | {
        head_name(*at): "no query of this text has such a key" for at in np.argwhere(gone & ~left_out).tolist()
    }


def _controls(found: Mapping[str, Ratio], bounds: tuple[float, float]) -> list[Control]:
    meanings = {
        "shuffled text": "the same windows with their tokens in random order",
        "random twin": "the model at random initialisation, on the same text",
    }
    made = []
    for name, of in found.items():
        values = np.clip(of.value, *bounds).astype(np.float32)
        if np.isfinite(values).any():
            made.append(Control(name, float(np.nanmax(values)), values, meaning=meanings[name]))
    return made


def sliding(model: Model) -> dict[str, int]:
    """Layer -> width of the window that its queries see, where they do not see everything."""
    width = getattr(model.config, "sliding_window", None) or getattr(model.config, "window_size", None)
    if not isinstance(width, int) or getattr(model.config, "use_sliding_window", True) is False:
        return {}
    kinds = getattr(model.config, "layer_types", None) or getattr(model.config, "attention_layers", None)
    narrow = [kind in ("sliding_attention", "local") for kind in kinds] if kinds else [True] * model.record.n_layers
    return {str(layer): width for layer, is_narrow in enumerate(narrow) if is_narrow}


def _arrays(
    passes: Passes, found: Stream, left_out: npt.NDArray[np.bool_], narrow: Mapping[str, int]
) -> dict[str, NamedArray]:
    text = measures.ratios(passes.text)
    names = tuple(text)
    each = np.stack([text[name].each for name in names]).astype(np.float32)
    texts = [passes.text, *([passes.shuffled] if passes.shuffled else [])]
    labels = {"text": ("text", "shuffled")[: len(texts)]}
    mass = {
        key: np.stack([t.sum_of(name).sum(0) / t.queries.sum() for t in texts])
        for key, name in (("offsets", "offset"), ("classes", "class"))
    }
    for layer, width in narrow.items():  # distances that its queries do not see
        mass["offsets"][:, int(layer), :, [i for i, (low, _) in enumerate(BINS) if low >= width]] = np.nan
    parts = [passes.text.sum_of(name).sum(0) for name in ("kind", "kind_null")]
    kinds = np.stack([p / np.maximum(p.sum(-1, keepdims=True), 1e-30) for p in parts])
    kinds[:, left_out] = np.nan
    return {
        "per_window": NamedArray(("measure", "window", "layer", "head"), each, {"measure": names}),
        "document": NamedArray(("window",), np.asarray(found.groups, np.int32)),
        "window_tokens": NamedArray(("window",), np.asarray([len(w.ids) for w in found.windows], np.int32)),
        "offsets": NamedArray(("text", "layer", "head", "bin"), mass["offsets"].astype(np.float32), labels),
        "classes": NamedArray(("text", "layer", "head", "class"), mass["classes"].astype(np.float32), labels),
        "kinds": NamedArray(
            ("text", "layer", "head", "kind"), kinds.astype(np.float32),
            {"text": ("strongest key", "key at the same distance"), "kind": classes.KINDS},
        ),
    }  # fmt: skip


def _facts(found: Stream, passes: Passes, units: Units, table: npt.NDArray[np.int64], settings: Settings) -> TextFacts:
    counts = passes.text.counts
    queries = sum(c.queries for c in counts)
    names = classes.names(settings.classes)
    ids = np.concatenate([w.ids for w in found.windows])
    number = facts.Number
    share = documents.read_share(settings.text_file) if settings.text_file and settings.source == "text" else 1.0
    recorder = passes.recorder
    return TextFacts(
        source=found.source,
        windows=len(found.windows),
        length=max(len(w.ids) for w in found.windows),
        tokens=found.tokens,
        documents=found.documents,
        first=settings.first,
        units=units.count,
        unit=units.name,
        dropped_tokens=found.dropped_tokens,
        repeated=found.repeated,
        unknown=number(found.unknown),
        share_read=number(share),
        queries=queries,
        followed=sum(c.followed for c in counts),
        treated={name: int(sum(c.treated[i] for c in counts)) for i, name in enumerate(("induction", "duplicate"))},
        classes=list(names),
        class_shares=[number(x) for x in np.bincount(table[ids], minlength=len(names)) / len(ids)],
        class_base=[number(x) for x in np.sum([c.classes for c in counts], axis=0) / queries],
        next_base=number(sum(c.next for c in counts) / queries),
        bins=[f"{low}" if low == high else f"{low}-{high}" if high < 1 << 29 else f"{low}+" for low, high in BINS],
        kinds=list(classes.KINDS),
        shuffled=len(passes.shuffled.counts) if passes.shuffled else 0,
        twins=len(passes.twins),
        twin_windows=len(passes.twins[0].counts) if passes.twins else 0,
        edge_windows=min(settings.edge_windows, len(found.windows)) if recorder else 0,
        flips=settings.flips,
        resamples=settings.resamples,
        text_kept=not settings.no_text,
    )


def _class_table(
    told: TextFacts, table: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], tokens: Tokens, most: int = 8
) -> Table:
    """The classes with their shares, and some tokens of each."""
    known, times = np.unique(ids, return_counts=True)
    rows: list[tuple[Cell, ...]] = []
    for index, name in enumerate(told.classes):
        own = known[table[known] == index]
        common = own[np.argsort(-times[table[known] == index], kind="stable")][:most]
        shown = " ".join(tokens.text(int(i)).strip() or "\u2423" for i in common) if told.text_kept else ""
        rows.append((classes.title(name), float(told.class_shares[index]), float(told.class_base[index]), shown))
    return Table(
        key="text/classes",
        title="Classes of tokens in this text",
        columns=(
            Column("class"), Column("share of tokens"), Column("share of keys", "mean over queries"),
            Column("most frequent"),
        ),
        rows=tuple(rows),
        caption="A token's class is told from the token alone, by the first rule that matches. "
        f"n = {told.tokens:,} tokens.",
        folded=True,
    )  # fmt: skip


def _head_table(scores: tuple[HeadScores, ...], most: int = 24) -> Table:
    """The heads with the largest sum of |excess| over classes."""
    shown = ("previous", "induction", "copy_next", "sink", "honor_out", "entropy", "reach", "dla")
    by_name = {s.measure: s for s in scores if s.task == TASK}
    size = np.sum([np.abs(np.nan_to_num(s.values)) for s in scores if s.measure == "excess"], axis=0)
    order = np.argsort(-size.ravel(), kind="stable")[:most]
    heads = [(int(i // size.shape[1]), int(i % size.shape[1])) for i in order]
    return Table(
        key="text/heads",
        title="Heads that are choosiest about classes of tokens",
        columns=(Column("head"), Column("choosiness", "sum of |excess|"), *(Column(by_name[n].label) for n in shown)),
        rows=tuple((head_name(*h), float(size[h]), *(float(by_name[n].values[h]) for n in shown)) for h in heads),
        caption=f"The {len(heads)} heads whose attention differs most from the classes' shares among the keys.",
        folded=True,
    )


def _notes(told: TextFacts) -> tuple[str, ...]:
    notes = []
    if told.units < 2:
        notes.append(f"{SHORT}: scores have neither intervals nor p. Give more text with --text.")
    if told.repeated:
        notes.append(f"{told.repeated} windows repeat another one and are left out.")
    if told.share_read < 1:
        notes.append(f"The first {100 * told.share_read:.0f} % of the text's bytes were looked at.")
    other = dict(zip(told.classes, told.class_shares, strict=True)).get(classes.OTHER, 0.0)
    if other > 0.2:
        notes.append(f"{100 * other:.0f} % of the tokens are of other scripts: scores by class say little here.")
    if told.sliding:
        notes.append(
            f"{len(told.sliding)} layers see {min(told.sliding.values())} tokens back: reach is bounded there."
        )
    return tuple(notes)

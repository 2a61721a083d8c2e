"""Every head while the model answers questions about facts in a document.

`arrays` of the result (`facts`: see ../facts.py):
    tables     [measure document question needle layer head] what the scores are sums of: hits for `copy`
    right, tokens [document question] answer tokens before the first wrong one, and all; -1: no such question
    kept       [document question] 1: it counts, 0: answered without the fact or not there
    depth      [document question] of the fact, as a share of the document
    copies/NAME   [example layer head] concept, token, prefix; shared [example] tokens of the prefix
    patched/NAME  [unit example head] what single heads change, concept and token
    phrases    [text layer head] mass on all answers while answering: own questions, another document's
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Float32s
from reportgen.errors import NotApplicable
from reportgen.models.prefix_cache import Past
from reportgen.models.selfcheck import reasons_for, require_finite
from reportgen.scores import Cell, Column, Control, HeadScores, NamedArray, NotComputed, SuiteResult, Table
from reportgen.scores import head_name as named
from reportgen.stats import bootstrap_interval
from reportgen.suites import facts
from reportgen.suites.base import Context
from reportgen.suites.retrieval import layout, user
from reportgen.suites.retrieval.facts import GridRow, RecallFacts, RetrievalFacts
from reportgen.suites.retrieval.scoring import documents as docs
from reportgen.suites.retrieval.scoring import papers
from reportgen.suites.retrieval.scoring.ablation import ablate
from reportgen.suites.retrieval.scoring.copied import copied
from reportgen.suites.retrieval.scoring.documents import Asked, Document, Material
from reportgen.suites.retrieval.scoring.measures import Kept, Ratio, adjusted_p, held_out, ratio
from reportgen.suites.retrieval.scoring.passes import MEASURES, WHOLE, Read, Writer, answers, prefill, read, writer
from reportgen.suites.retrieval.scoring.passes import windows as windows_of
from reportgen.suites.retrieval.scoring.sets import head_sets
from reportgen.suites.retrieval.suite import SUITE, TASK, Settings
from reportgen.suites.settings import switched_off
from reportgen.suites.twins import random_twins

if TYPE_CHECKING:
    from reportgen.models.model import Model

Bools = npt.NDArray[np.bool_]
ABLATION_OFF = switched_off("retrieval", "random_sets")
DOCUMENTS = ("half of the documents", "the other half, about other things")
NO_NORM = "a norm stands between the head and the residual stream"
CONTROLS = {
    "other document": "the same questions asked of a document without the fact",
    "random tokens": "every thing and answer replaced by random tokens",
    "random twin": "the model at random initialisation, on the same documents",
}


@dataclass
class Passes:
    """What was read: per document its own questions, and the controls where there are any."""

    own: list[Read] = field(default_factory=list)
    other: list[Read] = field(default_factory=list)
    guesses: list[npt.NDArray[np.float64]] = field(default_factory=list)  # [question] p of its answer elsewhere
    random: list[Read] = field(default_factory=list)
    twin: list[Read] = field(default_factory=list)
    grid: list[GridRow] = field(default_factory=list)
    of_paper: list[npt.NDArray[np.float64] | None] = field(default_factory=list)  # of the presets qrhead and locos

    def controls(self) -> dict[str, list[Read]]:
        """By name, those that were run."""
        found = zip(CONTROLS, (self.other, self.random, self.twin), strict=True)
        return {name: reads for name, reads in found if reads}


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Score every head. Raises NotApplicable where context or vocabulary are too small, or a text is not usable."""
    made, cached = material(model, settings, context.seed)
    passes = run(model, made, settings, context, cached=cached)
    passes.twin = _twin(model, made, context, cached=cached) if settings.twins else []
    kept = [~(guess >= settings.guess) for guess in passes.guesses]
    if not any(keep.any() for keep in kept):
        raise NotApplicable("every question is answered without its fact", "Give other facts: retrieval.needles=FILE.")
    require_finite(model, "logits of the answers", *(one.logp for one in passes.own))
    halves = np.array([doc.group == 0 for doc in made.documents])
    told = tell(made, passes, kept, settings, np.random.default_rng([context.seed, 51]))
    rng = np.random.default_rng([context.seed, 52])
    ratios = {name: ratio(passes.own, name, kept) for name in passes.own[0].tables} | _of_paper(passes, kept, settings)
    scores = tuple(_scores(name, passes, ratios, kept, halves, told, settings, rng) for name in (*MEASURES, "sink"))
    told.reach = _reach(model, ratios)
    missing = [] if settings.random_sets else [NotComputed("the ablation of heads", ABLATION_OFF)]
    if settings.random_sets:
        _removed(model, made, ratios, halves, told, settings, context, cached=cached)
    _best(told, scores, halves)
    short = copied(model, made, settings, context)
    told.patched = list(short.facts)
    halves_of = dict.fromkeys(ratios, halves) | short.halves
    sets = head_sets((*scores, *short.scores), ratios | short.ratios, halves_of, settings, told)
    done = {row.tokens for row in told.grid}
    missing += [NotComputed(f"recall at {n:,} tokens", "longer than the context, or than what is run at once")
                for n in settings.lengths if n not in done and not settings.needles]  # fmt: skip
    return SuiteResult(
        suite=SUITE.name,
        scores=(*scores[:-1], *short.scores, scores[-1]),
        head_sets=sets,
        tables=(_head_table(scores, passes), _recall_table(told)),
        arrays=_arrays(passes, made, kept) | short.arrays,
        facts=facts.encoded(told),
        notes=_notes(told),
        not_computed=(*missing, *short.missing),
    )


def keeps(model: Model, length: int) -> bool:
    """Whether a text of this length can be run once: a layer's cache may hold the positions of its window alone."""
    return model.keeps_past and min(windows_of(model)) > length


def material(model: Model, settings: Settings, seed: int) -> tuple[Material, bool]:
    """The documents, and whether their keys and values are kept. NotApplicable where they do not fit the model."""
    tokens, n_ctx = model.tokens, model.record.n_ctx
    if settings.needles:
        made = docs.given(tokens, user.read(settings.needles), settings.chat)
        longest = max(len(d.ids) + max(len(n.asked.ids) for n in d.needles) for d in made.documents)
    else:
        if n_ctx < docs.LEAST_CONTEXT:
            raise NotApplicable(f"its context has {n_ctx} tokens, at least {docs.LEAST_CONTEXT} are needed")
        docs.values_of(tokens)
        longest = settings.tokens
        if longest <= n_ctx:
            made = docs.material(tokens, settings.documents, longest, seed, settings.chat)
    if longest > n_ctx:
        raise NotApplicable(
            f"its context has {n_ctx:,} tokens, a document with its question {longest:,}",
            f"Type --set retrieval.tokens={n_ctx}." if not settings.needles else "Give shorter texts.",
        )
    cached = keeps(model, longest)
    if not cached and longest > WHOLE:
        raise NotApplicable(
            f"its family keeps no keys and values of a text, so that every question would run all {longest:,} tokens",
            f"Type --set retrieval.tokens={WHOLE}.",
        )
    return made, cached


def run(model: Model, made: Material, settings: Settings, context: Context, *, cached: bool) -> Passes:
    """Every pass over every document."""
    found, of, total = Passes(), writer(model), len(made.documents)
    for index, doc in enumerate(made.documents):
        past = prefill(model, doc, cached=cached)
        found.own.append(read(model, of, doc, past=past))
        if settings.preset == "qrhead":
            found.of_paper.append(papers.qrhead(model, past, doc, chat=settings.chat))
        elif settings.preset == "locos":
            found.of_paper.append(papers.locos(model, of, past, doc))
        other = made.documents[(index + 1) % total]
        _ask_other(model, of, doc, other, past, found, settings)
        context.progress(index + 1, total, "documents")
    found.guesses = found.guesses[-1:] + found.guesses[:-1]  # document d asked the questions of d + 1
    if settings.random_tokens:
        allowed = np.unique(np.concatenate([d.ids for d in made.documents]))
        rng = np.random.default_rng([context.seed, 53])
        for index, doc in enumerate(made.documents):
            found.random.append(read(model, of, docs.random_tokens(doc, allowed, rng), cached=cached))
            context.progress(index + 1, total, "random tokens")
    if not settings.needles:
        found.grid = _grid(model, settings, context)
    return found


def _twin(model: Model, made: Material, context: Context, *, cached: bool) -> list[Read]:
    """The same documents, read by a random twin, whose weights are let go at once."""
    found = list[Read]()
    for twin in random_twins(model, [context.seed]):
        of = writer(twin)
        for index, doc in enumerate(made.documents):
            found.append(read(twin, of, doc, cached=cached))
            context.progress(index + 1, len(made.documents), "random twin")
    return found


def _ask_other(
    model: Model, of: Writer, doc: Document, other: Document, past: Past, found: Passes, settings: Settings
) -> None:
    """Ask a document what the next one tells: how often the model guesses, and what heads do without the fact."""
    asked = [docs.asked_of(model.tokens, doc, needle, settings.chat) for needle in other.needles]
    room = model.record.n_ctx - len(doc.ids)
    asked = [one if one is not None and len(one.ids) <= room else None for one in asked]
    usable = [one for one in asked if one is not None]
    told = answers(model, past, usable)[1].exp().cpu().double().numpy() if usable else np.empty(0)
    guess = np.full(len(asked), np.nan)  # NaN: not asked, counts
    guess[[one is not None for one in asked]] = told
    found.guesses.append(guess)
    if settings.shuffled and len(usable) >= len(doc.needles):
        found.other.append(read(model, of, doc, usable[: len(doc.needles)], past=past))


def _grid(model: Model, settings: Settings, context: Context) -> list[GridRow]:
    """Recall alone, at further lengths."""
    rows = []
    for length in sorted(set(settings.lengths) - {settings.tokens}):
        cached = keeps(model, length)
        if length > model.record.n_ctx or (not cached and length > WHOLE):
            continue
        made = docs.material(model.tokens, settings.grid_documents, length, context.seed, settings.chat)
        right, asked = np.zeros(layout.M, int), np.zeros(layout.M, int)
        for index, doc in enumerate(made.documents):
            told = answers(model, prefill(model, doc, cached=cached), [n.asked for n in doc.needles])[0]
            _count(right, asked, doc, told.cpu().numpy())
            context.progress(index + 1, len(made.documents), "recall")
        rows.append(GridRow(tokens=length, documents=len(made.documents), right=right.tolist(), asked=asked.tolist()))
    return rows


def _count(right: npt.NDArray[np.int64], asked: npt.NDArray[np.int64], doc: Document, whole: Bools) -> None:
    for needle, hit in zip(doc.needles, whole.tolist(), strict=True):
        at = min(int(needle.depth * len(right)), len(right) - 1)
        right[at] += hit
        asked[at] += 1


def tell(
    made: Material, passes: Passes, kept: Kept, settings: Settings, rng: np.random.Generator
) -> RetrievalFacts:  # fmt: skip
    """What captions need."""
    number, own = facts.Number, passes.own
    lengths = [n.value[1] - n.value[0] for d in made.documents for n in d.needles]
    count = max(len(d.needles) for d in made.documents)
    longest = [len(n.asked.ids) for d in made.documents for n in d.needles]
    grid = passes.grid
    right, asked = np.zeros(layout.M, int), np.zeros(layout.M, int)
    for doc, one in zip(made.documents, own, strict=True):
        _count(right, asked, doc, one.whole)
    length = round(float(np.mean([len(d.ids) for d in made.documents])))
    tokens = settings.tokens if not settings.needles else length + max(longest)
    row = GridRow(tokens=tokens, documents=len(own), right=right.tolist(), asked=asked.tolist())
    return RetrievalFacts(
        source=made.source, documents=len(own), facts=count, length=length, asked=max(longest), values=made.values,
        chat=settings.chat, dropped=list(made.dropped), guessed=int(sum((~keep).sum() for keep in kept)),
        imbalance={name: number(x) for name, x in made.imbalance.items()},
        recall=_recall(made, passes, kept, settings, rng),
        grid=sorted([*grid, row], key=lambda one: one.tokens),
        copy_base=number(1 / (count * float(np.mean(lengths)))),
        least_recall=number(settings.least_recall), alpha=number(settings.alpha),
        copy_threshold=number(settings.threshold), point_threshold=number(settings.point_threshold),
        preset=settings.preset, permutations=settings.permutations, resamples=settings.resamples,
    )  # fmt: skip


def _recall(
    made: Material, passes: Passes, kept: Kept, settings: Settings, rng: np.random.Generator
) -> RecallFacts:  # fmt: skip
    number = facts.Number
    pairs = list(zip(passes.own, kept, strict=True))
    right = np.array([one.whole[keep].sum() for one, keep in pairs], float)
    asked = np.array([keep.sum() for keep in kept], float)
    low, high = bootstrap_interval(
        right[:, None], list(range(len(right))), rng, per=asked, draws=settings.resamples, bounds=(0.0, 1.0)
    )
    kinds: dict[str, list[int]] = {}
    for doc, (one, keep) in zip(made.documents, pairs, strict=True):
        for needle, hit, counts in zip(doc.needles, one.whole.tolist(), keep.tolist(), strict=True):
            of = kinds.setdefault(needle.kind, [0, 0])
            of[0] += int(hit and counts)
            of[1] += int(counts)
    counted = {name: [int(sum(r.whole.sum() for r in reads)), sum(len(r.whole) for r in reads)]
               for name, reads in passes.controls().items()}  # fmt: skip
    return RecallFacts(
        right=int(right.sum()), asked=int(asked.sum()), low=number(low[0]), high=number(high[0]), by_kind=kinds,
        tokens_right=int(sum(one.right[keep].sum() for one, keep in pairs)),
        tokens=int(sum(one.tokens[keep].sum() for one, keep in pairs)),
        logp=number(np.mean(np.concatenate([one.logp[keep] for one, keep in pairs]))),
        other_document=counted.get("other document", []),
        guess=number(_mean(np.concatenate(passes.guesses))),
        random_tokens=counted.get("random tokens", []),
        twin=counted.get("random twin", []),
    )  # fmt: skip


def _mean(values: npt.NDArray[np.float64]) -> float:
    """Of the values that there are."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _scores(
    name: str, passes: Passes, ratios: dict[str, Ratio], kept: Kept, halves: Bools, told: RetrievalFacts,
    settings: Settings, rng: np.random.Generator,
) -> HeadScores:  # fmt: skip
    measure = SUITE.measure(name)
    of_paper = name in papers.measures(settings.preset) and name in ratios
    title = f"{measure.title}, {papers.says(settings.preset)}" if of_paper else measure.title
    label = f"{title} ({measure.unit})" if measure.unit else title
    key = f"retrieval/{name}/{TASK}"
    recall = told.recall
    why = _why_not(name, passes, told)
    if why:
        shape = passes.own[0].sink.shape
        empty = np.full(shape, np.nan, np.float32)
        return HeadScores(key, label, empty, recall.asked, no_null=why, range=measure.range, reasons={"*": why})
    if name == "sink":
        each = np.stack([one.sink for one in passes.own]).astype(np.float64)
        of = Ratio(each, np.ones_like(each))
    else:
        of = ratios[name]
    p = None
    if name != "sink" and settings.permutations and not of_paper:
        p = adjusted_p(passes.own, name, kept, settings.permutations, rng)
    low, high = of.interval(settings.resamples, rng)
    gone = ~np.isfinite(of.value)

    def grid(given: npt.NDArray[np.floating]) -> Float32s:
        return np.where(gone, np.nan, np.clip(given, *measure.range)).astype(np.float32)

    return HeadScores(
        key=key,
        label=label,
        values=grid(of.value),
        n=_examples(name, told, of_paper=of_paper),
        low=grid(low),
        high=grid(high),
        p=None if p is None else np.where(gone, np.nan, p).astype(np.float32),
        no_null="" if p is not None else _no_null(name, of_paper=of_paper),
        range=measure.range,
        reasons=reasons_for(gone, "its layer's window reaches no fact"),
        held_out=held_out(of, halves, measure.range, settings.resamples, rng, DOCUMENTS),
        controls=() if of_paper else tuple(_controls(name, passes, measure.range)),
    )  # fmt: skip


def _examples(name: str, told: RetrievalFacts, *, of_paper: bool) -> int:
    """Answer tokens or questions behind a score."""
    recall = told.recall
    if name == "write" and of_paper:
        return recall.right
    return {"copy": recall.tokens_right, "sink": recall.tokens}.get(name, recall.asked)


def _of_paper(passes: Passes, kept: Kept, settings: Settings) -> dict[str, Ratio]:
    """What the preset puts in place of a measure."""
    if settings.preset == "wu":
        return {"copy": papers.wu(passes.own, kept)}
    if settings.preset == "locos":
        kept = [keep & one.whole for keep, one in zip(kept, passes.own, strict=True)]
    found = papers.of_questions(passes.of_paper, kept) if passes.of_paper else None
    return {} if found is None else dict.fromkeys(papers.measures(settings.preset), found)


def _no_null(name: str, *, of_paper: bool) -> str:
    if of_paper:
        return papers.NO_NULL
    return SUITE.measure("sink").null.removeprefix("none: ") if name == "sink" else (
        switched_off("retrieval", "permutations")
    )  # fmt: skip


def _why_not(name: str, passes: Passes, told: RetrievalFacts) -> str:
    """Why a measure is not computed; "" where it is."""
    recall = told.recall
    if name == "copy" and (recall.right < told.least_recall * recall.asked or not recall.tokens_right):
        return f"the model answers {recall.right} of {recall.asked} questions"
    if name == "write" and told.preset == "locos" and not recall.right:
        return f"the model answers {recall.right} of {recall.asked} questions"
    return NO_NORM if name == "write" and name not in passes.own[0].tables else ""


def _controls(name: str, passes: Passes, bounds: tuple[float, float]) -> list[Control]:
    made = []
    for control, reads in passes.controls().items():
        if name == "sink":
            values = np.mean([one.sink for one in reads], axis=0)
        elif name in reads[0].tables:
            values = ratio(reads, name, [np.ones(len(r.whole), bool) for r in reads]).value
        else:
            continue
        values = np.clip(values, *bounds).astype(np.float32)
        if np.isfinite(values).any():
            made.append(Control(control, float(np.nanmax(values)), values, meaning=CONTROLS[control]))
    return made


def _reach(model: Model, ratios: dict[str, Ratio]) -> dict[str, int]:
    """Layer -> questions that its window reaches the fact of, where it is not all of them."""
    counts = ratios["copy_mass"].below.sum(0)[:, 0]
    narrow = [layer for layer, width in enumerate(windows_of(model)) if not math.isinf(width)]
    return {str(layer): int(counts[layer]) for layer in narrow if counts[layer] < counts.max()}


def _removed(
    model: Model, made: Material, ratios: dict[str, Ratio], halves: Bools, told: RetrievalFacts, settings: Settings,
    context: Context, *, cached: bool,
) -> None:  # fmt: skip
    """What the model answers without its highest heads."""
    wanted = {name: of for name, of in ratios.items() if name != "copy" or np.isfinite(of.value).any()}
    found = ablate(
        model, made.documents, wanted, halves, sets=settings.random_sets, draws=settings.resamples, chat=settings.chat,
        cached=cached, seed=context.seed, told=lambda done, total: context.progress(done, total, "ablation"),
    )  # fmt: skip
    if found is not None:
        told.ablated, told.removed_on = list(found.sets), found.documents
        told.everywhere = found.everywhere[0]
        told.everywhere_recall, told.everywhere_logp = map(facts.Number, found.everywhere[1:])
        told.whole_recall, told.whole_logp, told.whole_near = map(facts.Number, (found.recall, found.logp, found.near))


def _best(told: RetrievalFacts, scores: Sequence[HeadScores], halves: Bools) -> None:
    """Whose table of questions and facts is drawn: picked on one half, drawn on the other."""
    held = next((s.held_out for s in scores if s.measure in ("copy", "copy_mass") and s.held_out), None)
    if held is not None:
        told.best, told.best_n = held.head, int((~halves).sum())


def _head_table(scores: Sequence[HeadScores], passes: Passes, most: int = 24) -> Table:
    """The heads highest in copying, or in attention to the answer where copying is not computed."""
    by_name = {s.measure: s for s in scores}
    first = by_name["copy"] if np.isfinite(by_name["copy"].values).any() else by_name["copy_mass"]
    shown = [s for s in scores if np.isfinite(s.values).any()]
    phrases = [np.mean([r.phrases for r in reads], axis=0) for reads in (passes.own, passes.other or passes.own)]
    rows: list[tuple[Cell, ...]] = []
    for head in first.ranking()[:most]:
        p = None if first.p is None else float(first.p[head])
        own = [float(one[head]) for one in phrases]
        rows.append((named(*head), *(_number(s.values[head]) for s in shown), p, own[0],
                     own[1] if passes.other else None))  # fmt: skip
    return Table(
        key="retrieval/heads",
        title=f"Heads highest in {first.label.partition(' (')[0].lower()}",
        columns=(
            Column("head"), *(Column(s.label) for s in shown), Column(f"p of {first.measure}"),
            Column("mass on all answers"), Column("the same, another document's questions"),
        ),
        rows=tuple(rows),
        caption="Mass on all answers: mean attention to the eight answers in the document while answering. A head in "
        "which it is as high for another document's questions looks at answers whatever is asked.",
        folded=True,
    )  # fmt: skip


def _number(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None


def _recall_table(told: RetrievalFacts) -> Table:
    recall = told.recall
    rows: list[tuple[Cell, ...]] = [("all questions", recall.right, recall.asked)]
    rows += [(f"{kind} questions", *counts) for kind, counts in recall.by_kind.items()]
    for name, counts in (("asked of another document", recall.other_document), ("random tokens", recall.random_tokens),
                         ("random twin", recall.twin)):  # fmt: skip
        rows += [(name, *counts)] if counts else []
    return Table(
        "retrieval/recall", "Questions answered right", (Column("questions"), Column("right"), Column("asked")),
        tuple(rows), caption="Right: every token of the answer is the largest logit, as in greedy decoding.",
    )  # fmt: skip


def _arrays(passes: Passes, made: Material, kept: Kept) -> dict[str, NamedArray]:
    names = tuple(passes.own[0].tables)
    most = max(len(one.whole) for one in passes.own)

    def wide(rows: Sequence[npt.NDArray[np.generic]], fill: float, kind: type[np.generic]) -> npt.NDArray[np.generic]:
        out = np.full((len(rows), most), fill, kind)
        for row, values in zip(out, rows, strict=True):
            row[: len(values)] = values
        return out

    shape = passes.own[0].sink.shape
    tables = np.full((len(names), len(made.documents), most, most, *shape), np.nan, np.float32)
    for d, one in enumerate(passes.own):
        for i, name in enumerate(names):
            n = len(one.whole)
            tables[i, d, :n, :n] = one.tables[name]
    pairs = ("document", "question")
    texts = [passes.own, *([passes.other] if passes.other else [])]
    return {
        "tables": NamedArray(("measure", *pairs, "needle", "layer", "head"), tables, {"measure": names}),
        "right": NamedArray(pairs, wide([r.right for r in passes.own], -1, np.int32)),
        "tokens": NamedArray(pairs, wide([r.tokens for r in passes.own], -1, np.int32)),
        "kept": NamedArray(pairs, wide(list(kept), 0, np.int32)),
        "depth": NamedArray(
            pairs, wide([np.array([n.depth for n in d.needles]) for d in made.documents], np.nan, np.float32)
        ),
        "group": NamedArray(("document",), np.array([d.group for d in made.documents], np.int32)),
        "phrases": NamedArray(
            ("text", "layer", "head"), np.stack([np.mean([r.phrases for r in reads], axis=0) for reads in texts]),
            {"text": ("own questions", "another document's")[: len(texts)]},
        ),
    }  # fmt: skip


def _notes(told: RetrievalFacts) -> tuple[str, ...]:
    notes, recall = [], told.recall
    if recall.right < told.least_recall * recall.asked:
        notes.append(
            f"The model answers {recall.right} of {recall.asked} questions: no head is called a retrieval head."
        )
    if told.guessed:
        notes.append(f"{told.guessed} questions are left out: the model answers them without the fact.")
    if told.dropped:
        notes.append(f"{len(told.dropped)} facts are not found token by token and are left out: {told.dropped[0]}")
    return tuple(notes)


__all__ = ["Asked", "Passes", "material", "run", "score", "tell"]

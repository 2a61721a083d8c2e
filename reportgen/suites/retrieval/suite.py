"""The suite `retrieval`: copying an answer out of a long text. Imports neither torch nor altair.

After Wu et al. 2024 (retrieval heads), Zhang et al. 2025 (query-focused retrieval heads) and Gema et al. 2026 (what the
heads write), with eight facts in a document of this project's own making.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from reportgen.manifest import ModelRecord
from reportgen.suites import cost
from reportgen.suites.base import Check, Measure, Suite
from reportgen.suites.cost import Phase
from reportgen.suites.retrieval import layout, user
from reportgen.suites.settings import check, setting

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

TASK = "needles"
# preset -> (whose score, the measures that it replaces)
PRESETS = {
    "own": ("", ()), "wu": ("Wu et al.", ("copy",)), "qrhead": ("Zhang et al.", ("point",)),
    "feucht": ("Feucht et al.", ("concept", "token", "concept_effect", "token_effect")),
    "locos": ("raw LOCOS of Gema et al.", ("write",)),
}  # fmt: skip
FORMULAS = {  # of those measures, as the papers' code computes them
    ("wu", "copy"): "tokens copied (as in copy) over tokens of the value, mean over questions of which more than half "
    "the answer's tokens are right",
    (
        "qrhead",
        "point",
    ): "sum over the fact's tokens of c = mean attention from question and stem minus the same for the "
    "question 'N/A', without tokens of c <= mean - 2 sd within the fact",
    ("feucht", "concept"): "attention of the last query to e_n, weighted by ||v_k||, entities",
    ("feucht", "token"): "attention of the last query to e_1, weighted by ||v_k||, random tokens",
    ("feucht", "concept_effect"): "P(e_2) with the head's z from the intact run minus P(e_2) without, entities",
    ("feucht", "token_effect"): "P(e_1) with the head's z from the intact run minus P(e_1) without, random tokens",
    ("locos", "write"): "mean over answer tokens w of the sum over k in the fact's sentence of pattern[q, k] (v_k W_O) "
    ". W_U[w], minus the sum over all other keys times (keys of the sentence / other keys); no final norm; mean over "
    "questions whose whole answer is right",
}
ASKED = 30  # tokens of a question and its answer
FIXED = 30_000  # calls of small operations between the passes
REDUCED = 12  # elementwise operations on each cell of a pattern


@dataclass(frozen=True)
class Settings:
    """Settings of the suite `retrieval`."""

    needles: str = setting("", "JSONL file of facts in texts of your own: text, question, answer, paraphrase")
    preset: str = setting(
        "own", "own, or a paper's score and rule in place of this suite's: wu (copy), qrhead (point), feucht (concept, "
        "token, also by patching), locos (write)", one_of=tuple(PRESETS),
    )  # fmt: skip
    documents: int = setting(12, "documents, of eight facts each", least=2, needs="intervals are over documents")
    tokens: int = setting(
        1024, "tokens of a document with its longest question", least=256, needs="a shorter one is no long text"
    )
    lengths: tuple[int, ...] = setting(
        (256, 512, 2048), "further lengths at which recall alone is measured", off="recall at other lengths"
    )
    grid_documents: int = setting(4, "documents of each further length", least=1, needs="lengths=none switches it off")
    chat: bool = setting(False, "documents and questions stand in the model's chat template")
    permutations: int = setting(9_999, "draws of the null", off="p, and the head sets that p names")
    resamples: int = setting(2_000, "bootstrap draws over documents", least=1, needs="every score has an interval")
    alpha: float = setting(0.05, "family-wise level at which a head enters a head set", share=True)
    threshold: float = setting(0.1, "copy from which a head is called a retrieval head", share=True)
    copier_threshold: float = setting(
        0.1, "concept or token from which a head is called a concept or token copier", share=True
    )
    point_threshold: float = setting(0.1, "point from which a head is called a pointing head", share=True)
    guess: float = setting(0.01, "p of an answer without its fact from which a question is left out", share=True)
    least_recall: float = setting(0.1, "share of right answers below which copy is not computed", share=True)
    random_sets: int = setting(
        10, "random sets of heads that the highest five and twenty are compared with", off="the ablation of heads"
    )
    sequences: int = setting(
        192, "short sequences of each kind behind concept, token and prefix", off="concept, token and prefix"
    )
    verified: int = setting(
        32, "heads patched alone on such sequences, the highest in concept and in token", off="copying by patching"
    )
    sampled: int = setting(32, "and heads drawn at random among the others", zero="none")
    shuffled: bool = setting(True, "also ask each document the questions of another", off="control: other document")
    random_tokens: bool = setting(
        True, "also read documents whose facts are random tokens", off="control: random tokens"
    )
    twins: int = setting(1, "random twins that read the documents", off="control: random twin")

    def __post_init__(self) -> None:
        check(self)
        if any(length < 128 for length in self.lengths):
            raise ValueError(f"lengths {self.lengths}: give lengths of 128 tokens or more.")
        if self.needles:
            user.read(self.needles)


def _files(settings: Settings) -> tuple[Path, ...]:
    return (Path(settings.needles),) if settings.needles else (layout.HAYSTACK, layout.NEEDLES, layout.ENTITIES)


def phases(record: ModelRecord, s: Settings) -> tuple[Phase, ...]:
    """A prefill per document, then its questions; each control as much, some without a prefill of their own."""
    heads, asked = record.n_layers * record.n_heads, layout.M * ASKED

    def passes(name: str, documents: int, length: int, times: int = 1, *, plain: bool = False) -> Phase:
        """Documents that are prefilled and asked `times` rounds of questions."""
        cells = documents * heads * (length**2 + (1 if plain else REDUCED) * times * asked * length)
        return Phase(
            name,
            tokens=documents * (length + times * asked),
            logits=documents * times * asked,
            elements=cells + 4 * documents * times * asked * record.d_vocab,
            calls=3 * cost.passes(record, documents * (ceil(length / 512) + times)),
        )

    found = [passes("documents", s.documents, s.tokens, 1 + s.shuffled)]
    found += [passes("recall", s.grid_documents, n, plain=True) for n in s.lengths if n <= record.n_ctx]
    found += [passes("random tokens", s.documents, s.tokens)] if s.random_tokens else []
    found += [passes("random twin", s.twins * s.documents, s.tokens)] if s.twins else []
    if s.sequences:
        length = 3 * 30 + 60  # tokens of the sequences with and without an entity, and with a prefix
        found.append(
            Phase(
                "copying", tokens=s.sequences * length, logits=4 * s.sequences,
                elements=20 * s.sequences * heads * length, calls=3 * cost.passes(record, ceil(s.sequences / 8)),
            )
        )  # fmt: skip
    if s.sequences and s.verified:
        patched = 2 * s.sequences * min(heads, s.verified + s.sampled)  # concept and token; from a head's layer on
        found.append(
            Phase(
                "patching", tokens=0.75 * patched + 4 * 30 * s.sequences, logits=patched + 4 * s.sequences,
                elements=2 * patched * record.d_vocab,
                calls=2 * cost.passes(record, ceil(s.sequences / 64) * min(heads / 2, record.n_layers)),
            )
        )  # fmt: skip
    if s.random_sets:
        sizes = 6 + 2 * (s.random_sets + 2)  # removals of each of two rankings, some with the fact said again
        found.append(passes("ablation", s.documents // 2, s.tokens, 2 * sizes, plain=True))
    drawn = 4 * s.permutations * s.documents * layout.M**2 * heads
    found.append(Phase("other", products=drawn, elements=8 * s.permutations * heads, calls=FIXED))
    return tuple(found)


def reach(record: ModelRecord, s: Settings, tokens: Tokens, seed: int) -> tuple[str, ...]:
    """The family of heads and the smallest p."""
    heads = f"family: {record.n_layers * record.n_heads:,} heads"
    return (heads, f"smallest p: {1 / (s.permutations + 1):.2g} ({s.permutations:,} draws)") if s.permutations else (
        heads,
    )  # fmt: skip


_MASS = "attention mass"
_ASSIGNED = (
    "within each document questions are assigned to facts at random, the same for every head, step-down max-T over "
    "heads; one-sided"
)
_WEIGHTED = "value-weighted attention"
_FLIPS = "random sign for each example, standardised per head, step-down max-T over heads; one-sided"
_PATCHED = "random sign for each {}, standardised per head, step-down max-T over the heads patched; one-sided"
_OTHERS = "minus the mean over the other facts j of the document"

SUITE = Suite(
    name="retrieval",
    title="Retrieval",
    summary="Which heads copy an answer out of a long text: documents hold eight facts, each is asked for, and heads "
    "are scored by where they look and what they write while the model answers.",
    version=1,
    settings=Settings,
    score="reportgen.suites.retrieval.scoring.score:score",
    figures="reportgen.suites.retrieval.drawing.figures:figures",
    variants="reportgen.suites.retrieval.variants:variants",
    threshold="threshold",
    featured=("copy/", "point/"),
    measures=(
        Measure(
            "copy", "Copying from the fact",
            "share of right answer tokens w with argmax_k pattern[q, k] in the fact's value and token[k] = w; q the "
            "query that predicts w, all keys",
            "High: while the model answers, the head's strongest key is the very token that is written next. A head "
            "that gives .49 to it and .51 to position 0 scores 0.",
            "share of tokens", "wu2024retrieval; one prefill, eight facts ours", range=(0.0, 1.0), null=_ASSIGNED,
        ),
        Measure(
            "copy_mass", "Attention to the answer token",
            f"mean over answer tokens of pattern[q, k], k the token in the fact's value, {_OTHERS} of pattern[q, k'], "
            "k' at the same place in j's value",
            "High: the head looks at the token that is written next, and not at those of the other facts.", _MASS,
            "ours; after wu2024retrieval", range=(-1.0, 1.0), null=_ASSIGNED,
        ),
        Measure(
            "point", "Pointing to the fact",
            f"mean over the tokens of question and stem of the mass on the fact's sentence, {_OTHERS}",
            "High: the question makes the head look at the passage that answers it. Whether it copies is not measured.",
            _MASS, "zhang2025qrhead; other facts in place of a calibration query ours", range=(-1.0, 1.0),
            null=_ASSIGNED,
        ),
        Measure(
            "write", "Writing the answer",
            f"mean over answer tokens w of sum over k in the value of pattern[q, k] (v_k W_O) . (W_U[w] - mean W_U "
            f"over the other answers' first tokens), final norm frozen at q, {_OTHERS}",
            "High: what the head moves from the fact is an argument for the answer, more than from other facts. Paths "
            "through later layers are not counted.",
            "logits", "gema2026locos; contrast ours", null=_ASSIGNED,
        ),
        Measure(
            "concept", "Concept copying",
            "attention of the last token of a repeat, weighted by ||v_k W_O||, to the last token of an entity of "
            "several tokens that comes next, minus the same with random tokens as entity",
            "High: the head looks at the end of a name or compound, where the word is whole, to say it again.",
            _WEIGHTED, "feucht2025dualroute; contrast ours", range=(-1.0, 1.0), null=_FLIPS,
        ),
        Measure(
            "token", "Token copying",
            "the same attention to the first of several random tokens that come next, minus the same where the tokens "
            "before it do not come again",
            "High: the head finds the token that followed earlier copies, one token at a time, as induction heads do.",
            _WEIGHTED, "feucht2025dualroute; contrast ours", range=(-1.0, 1.0), null=_FLIPS,
        ),
        Measure(
            "concept_effect", "Concept copying by patching",
            "log P(e_2) after e_1, in a text that has not told the entity e_1..e_n, with the head's z from the one "
            "that has at the token before e_1, minus log P(e_2) without; mean over entities",
            "High: what the head alone says where the entity comes next brings its second token, one position on. Only "
            "the highest in attention and random heads are patched.",
            "nats", "feucht2025dualroute; log P ours", null=_PATCHED.format("entity"),
        ),
        Measure(
            "token_effect", "Token copying by patching",
            "log P(e_1), in a text that has not told the random tokens e_1..e_n, with the head's z from the one that "
            "has at the token before e_1, minus log P(e_1) without; mean over examples",
            "High: the head alone brings the token that followed. Only the highest in attention and random heads are "
            "patched.",
            "nats", "feucht2025dualroute; log P ours", null=_PATCHED.format("example"),
        ),
        Measure(
            "prefix", "Induction by a long prefix",
            "the end shares its last L tokens with one earlier place and the last alone with another: attention to "
            "what followed the first minus attention to what followed the other; mean over L = 2, 4, 8",
            "High: the head tells two copies of a token apart by the tokens before them.", _MASS, "ours",
            range=(-1.0, 1.0), null=_FLIPS,
        ),
        Measure(
            "sink", "Sink while answering", "mean over answer tokens of pattern[q, 0]",
            "High: the head rests on position 0 while the model answers, which explains a copy of 0.", _MASS, "ours",
            range=(0.0, 1.0), null="none: a description of what the head does; there is no claim to test",
        ),
    ),
    data=_files,
    cost=phases,
    licence="texts, facts and questions written for this project (CC0 1.0)",
    reach=reach,
    citations=("wu2024retrieval", "zhang2025qrhead", "gema2026locos", "feucht2025dualroute"),
    quick={
        "documents": 6, "tokens": 512, "lengths": (256,), "grid_documents": 4, "permutations": 1_999,
        "resamples": 1_000, "random_sets": 0, "sequences": 48,
    },
    check=Check(
        settings={
            "needles": str(layout.CHECKED), "permutations": 99, "resamples": 50, "twins": 0, "sequences": 12
        }
    ),
    left_out=("retrieval: 6 documents of 512 tokens instead of 12 of 1,024, recall at one further length",
        "retrieval: the ablation of heads",),
)  # fmt: skip

"""What the suite says of a result beside scores: `SuiteResult.facts`. Neither torch nor altair."""

from __future__ import annotations

from msgspec import field

from reportgen.suites.facts import FactRecord, Number


class GridRow(FactRecord):
    """Questions answered right at one length, by depth of the fact."""

    tokens: int = 0  # of a document with its longest question
    documents: int = 0
    right: list[int] = []
    asked: list[int] = []


class RecallFacts(FactRecord):
    """Questions whose every answer token was the largest logit."""

    right: int = 0
    asked: int = 0
    low: Number = Number("nan")  # over documents
    high: Number = Number("nan")
    by_kind: dict[str, list[int]] = {}  # kind of question -> [right, asked]
    tokens_right: int = 0  # answer tokens before the first wrong one
    tokens: int = 0
    logp: Number = Number("nan")  # mean log p of an answer, nats
    other_document: list[int] = []  # the same questions, asked of a document without the fact: [right, asked]
    guess: Number = Number("nan")  # mean p of the answer there
    random_tokens: list[int] = []  # [right, asked]
    twin: list[int] = []


class Ablated(FactRecord):
    """A set of heads removed at the question and the answer."""

    by: str = ""  # the measure that ranked the heads
    heads: int = 0
    recall: Number = Number("nan")
    logp: Number = Number("nan")  # mean log p of an answer, nats
    near: Number = Number("nan")  # recall with the fact repeated right before the question
    random: list[Number] = []  # mean log p of each random set
    random_recall: list[Number] = []
    drop: Number = Number("nan")  # loss of log p, beyond the mean of the random sets
    low: Number = Number("nan")
    high: Number = Number("nan")
    p: Number = Number("nan")
    other_layer: int = 0  # draws from the nearest layer, since the own one had no head left
    other_norm: int = 0  # draws whose output norm is not within a factor of two


class PatchedFacts(FactRecord):
    """What single heads were patched on."""

    of: str = ""  # concept or token
    entities: int = 0  # different ones
    intact: Number = Number("nan")  # mean log p of the token in question, nats
    corrupted: Number = Number("nan")
    highest: list[str] = []  # heads highest in attention
    random: list[str] = []


class RetrievalFacts(FactRecord):
    """The whole suite's."""

    source: str = ""
    documents: int = 0
    facts: int = 0  # of a document
    length: int = 0  # mean tokens of a document, without its questions
    asked: int = 0  # tokens of the longest question and answer
    values: int = 0  # answers that the tokenizer can use
    chat: bool = False
    preset: str = "own"
    dropped: list[str] = []  # facts not found token by token
    guessed: int = 0  # questions left out, since the model answers them without the fact
    imbalance: dict[str, Number] = {}
    recall: RecallFacts = field(default_factory=RecallFacts)
    grid: list[GridRow] = []
    copy_base: Number = Number("nan")  # what a head scores that looks at a random value's token
    least_recall: Number = Number("nan")
    alpha: Number = Number("nan")
    copy_threshold: Number = Number("nan")
    point_threshold: Number = Number("nan")
    permutations: int = 0
    resamples: int = 0
    reach: dict[str, int] = {}  # layer -> questions whose fact its window reaches, where it does not reach all
    best: str = ""  # head that is highest on one half, whose table of questions and facts is drawn
    best_n: int = 0  # documents of the other half, which the table is of
    ablated: list[Ablated] = []  # on the other half
    removed_on: int = 0  # documents of the other half that heads are removed on
    whole_recall: Number = Number("nan")  # of the questions that heads are ablated on, with no head ablated
    whole_logp: Number = Number("nan")
    whole_near: Number = Number("nan")
    patched: list[PatchedFacts] = []
    everywhere: int = 0  # heads highest in copying that are also removed at every position of the text; 0: they are not
    everywhere_recall: Number = Number("nan")
    everywhere_logp: Number = Number("nan")

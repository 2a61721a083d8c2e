"""What the suite says of a result beside scores: `SuiteResult.facts`. Neither torch nor altair."""

from __future__ import annotations

from reportgen.suites.facts import FactRecord, Number


class Gate(FactRecord):
    """Whether the model learns a task from its examples."""

    task: str
    title: str = ""
    kind: str = ""
    pairs: int = 0
    queries: int = 0
    prompts: int = 0
    accuracy: Number = Number("nan")  # with intact examples
    deranged: Number = Number("nan")  # with deranged ones
    log_p: Number = Number("nan")
    log_p_deranged: Number = Number("nan")
    among: int = 0  # prompts whose answer is also that of an example
    log_p_among: Number = Number("nan")  # deranged, over these prompts
    log_p_apart: Number = Number("nan")  # deranged, over the others
    passed: bool = False
    control: bool = False  # copying solves it: it never enters the mean over tasks
    why: str = ""  # it was not asked


class Outcome(FactRecord):
    """Log P and accuracy over held-out prompts, with 95 % intervals."""

    name: str  # of the vector or the ranking
    condition: str = ""
    share: Number = Number("nan")  # of the heads that are ablated
    log_p: Number = Number("nan")
    low: Number = Number("nan")
    high: Number = Number("nan")
    accuracy: Number = Number("nan")
    accuracy_low: Number = Number("nan")
    accuracy_high: Number = Number("nan")


class TextSet(FactRecord):
    """Change of the fall of the loss with a set of heads ablated, nats a token, with a 95 % interval over windows."""

    name: str  # of the ranking; "random": the mean of the sets, their middle 95 % as interval
    heads: int = 0
    value: Number = Number("nan")
    low: Number = Number("nan")
    high: Number = Number("nan")


class IclFacts(FactRecord):
    """The whole suite's."""

    form: str = ""
    preset: str = "own"
    shots: int = 0
    shots_wanted: int = 0
    prompts: int = 0  # per task
    tokens: Number = Number("nan")  # of a prompt, mean
    gate: list[Gate] = []
    least_accuracy: Number = Number("nan")
    least_gain: Number = Number("nan")
    heads: int = 0
    exact: int = 0
    random_heads: int = 0  # of the exact ones, drawn at random
    spearman_random: Number = Number("nan")  # screen against exact effect
    spearman_all: Number = Number("nan")
    screened: bool = False  # whether the others show the screen's estimate
    gap: Number = Number("nan")  # log P intact minus deranged, mean over tasks
    threshold: Number = Number("nan")  # nats that a head of a set restores
    others: dict[str, list[str]] = {}  # task -> tasks whose means stand for another's
    random_low: dict[str, Number] = {}  # head -> 95 % band over random vectors of their mean effect
    random_high: dict[str, Number] = {}
    vectors: int = 0
    vector_prompts: int = 0  # per task that each random vector is patched into, at least
    flips: int = 0
    resamples: int = 0
    twins: int = 0
    twin_prompts: int = 0
    vector_heads: list[str] = []  # summed to function vectors
    vector_layers: list[int] = []  # the block behind which one is added, per condition
    vector_outcomes: list[Outcome] = []
    ablation: list[Outcome] = []  # per ranking and share; name "random": the mean of the sets, their range as interval
    everywhere: list[Outcome] = []  # the same at all positions, on fewer prompts
    ablation_sets: int = 0
    ablation_moved: int = 0  # heads of random sets from the nearest layer
    held_prompts: int = 0
    text_source: str = ""
    text_windows: int = 0
    text_spans: list[list[int]] = []  # early and late tokens
    text_fall: Number = Number("nan")  # late minus early loss of the whole model
    text_exact: int = 0
    text_spearman: Number = Number("nan")  # attribution against exact, on random heads
    text_sets: list[TextSet] = []
    text_random: int = 0  # random sets
    text_set_windows: int = 0
    over_tasks: bool = True  # intervals resample tasks; else prompts within them

    @property
    def tasks(self) -> list[Gate]:
        """The tasks that passed and are no controls."""
        return [gate for gate in self.gate if gate.passed and not gate.control]

    @property
    def controls(self) -> list[Gate]:
        """The control tasks that passed."""
        return [gate for gate in self.gate if gate.passed and gate.control]

"""What the suite says of a result beside scores: `SuiteResult.facts`. Neither torch nor altair."""

from __future__ import annotations

from msgspec import field

from reportgen.suites.facts import FactRecord, Number


class Quiet(FactRecord):
    """Heads that wrote little in nearly every window, and what their ablation takes away."""

    heads: list[str] = []
    below: Number = Number("nan")  # of the layer's mean output norm
    share: Number = Number("nan")  # of windows
    windows: int = 0  # on which they were ablated; 0: they were not
    loss: Number = Number("nan")  # nats per token of the whole model
    change: Number = Number("nan")
    low: Number = Number("nan")
    high: Number = Number("nan")
    others: list[Number] = []  # the change for each set of others
    p: Number = Number("nan")  # that so small a change comes from the others
    other_layer: int = 0  # draws from the nearest layer, since the own one had no head left


class Wide(FactRecord):
    """One role of one head."""

    head: str
    set: str = ""  # key of the set that names it
    label: str = ""
    role: str = ""  # what was tested, in words; "" where nothing could be
    share: Number = Number("nan")  # of the squared output norm
    low: Number = Number("nan")
    high: Number = Number("nan")
    chance: Number = Number("nan")
    events: int = 0
    narrow: Number = Number("nan")
    narrow_key: str = ""
    narrow_rank: int = 0


class Agreement(FactRecord):
    """A narrow score against the share of writing on text that is of its kind, over heads."""

    narrow: str = ""  # key of the score
    label: str = ""
    kind: str = ""
    heads: int = 0
    spearman: Number = Number("nan")
    low: Number = Number("nan")
    high: Number = Number("nan")


class TextFacts(FactRecord):
    """The whole suite's."""

    source: str = ""
    windows: int = 0
    length: int = 0
    tokens: int = 0
    documents: int = 0
    first: int = 8
    units: int = 0  # of intervals and tests
    unit: str = "windows"
    dropped_tokens: int = 0
    repeated: int = 0
    unknown: Number = Number("nan")
    share_read: Number = Number("nan")
    queries: int = 0
    followed: int = 0
    treated: dict[str, int] = {}  # statistic -> queries with such a key
    classes: list[str] = []
    class_shares: list[Number] = []  # of tokens
    class_base: list[Number] = []  # of the keys that queries can attend to
    next_base: Number = Number("nan")
    bins: list[str] = []
    kinds: list[str] = []
    shuffled: int = 0
    twins: int = 0
    twin_windows: int = 0
    edge_windows: int = 0
    flips: int = 0
    resamples: int = 0
    text_kept: bool = True
    sliding: dict[str, int] = {}  # layer -> width of its window
    quiet: Quiet = field(default_factory=Quiet)
    wide: list[Wide] = []
    agreements: list[Agreement] = []
    untested: list[str] = []  # labels of sets whose role no test on tokens can tell

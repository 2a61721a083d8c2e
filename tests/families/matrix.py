"""Which suite runs on which family: the rows of docs/models.md, from what ran.

python -m tests.families.matrix     write the page anew
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from reportgen.models.load import load
from reportgen.runfolder import Run
from tests.families.made import small_run, spoken_folder
from tests.families.traits import TRAITS, traits
from tests.tiny import FAMILIES, tiny_folder

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
SUITES = ("relations", "weights", "attention", "circuits", "cognitive", "sparse")
HEAD = f"""\
# Models

Supported families, by the `model_type` in config.json, and which suites run on them. Each row records a test: all six
suites on a small random checkpoint of the family, after comparing its logits with Hugging Face's own forward pass
(`tests/families/test_matrix.py`, which also compares this page with the results). Any other family is refused before
its weights are read.

Refused within a family, because the weight layout differs: Falcon with `new_decoder_architecture`, ALiBi, or without
`multi_query` or `parallel_attn`; StarCoder (`gpt_bigcode`) without `multi_query`; OPT with norms after attention or
projected embeddings; BLOOM with `apply_residual_connection_post_layernorm`; quantised weights in safetensors. A
quantised GGUF file is dequantised: [gguf.md](gguf.md).

| family | {" | ".join(SUITES)} | what is special |
|---|{"---|" * len(SUITES)}---|
"""
TAIL = """
Left out within a suite that runs:

| family | suite | what | why |
|---|---|---|---|
"""

NOT_FINITE = """

## Weights or activations that are not finite

`tests/families/test_not_finite.py` damages a model (NaN in one head, infinities in another's values, NaN in a layer and
in the embedding, float16 weights whose products overflow) and runs every suite.

- The self-check fails and says so on the page.
- relations reads weights head by head: a damaged head has no value, no interval and no p, with the reason in its cell,
  on the page and in scores.csv; every other head has the same numbers as in the undamaged model.
- weights does so too, score by score; a NaN in the embedding leaves out what needs the vocabulary or position 0.
- attention reads activations: heads whose attention is not finite are left out in the same way; if that is every head,
  the suite refuses.
- circuits, cognitive and sparse compare logits, and a single NaN reaches all of them: they refuse, with a line that
  names the weights, or says that activations overflow and which `--dtype` to try.
- Family-wise p-values (step-down max-T and min-p): a head with a non-finite value or draw is excluded from the family.
  Left in, it would mask the maximum of each draw and make the other p-values too small.
- A suite that returns an interval or a p for a head without a value fails, and none of its results are kept.
"""


@functools.cache
def base() -> Path:
    """A folder for the checkpoints and runs of this process."""
    return Path(tempfile.mkdtemp(prefix="families"))


@functools.cache
def run_of(family: str) -> Run:
    """All suites on the family's small checkpoint; run once."""
    return small_run(spoken_folder(family, base() / family / family), base() / family)


@functools.cache
def traits_of(family: str) -> frozenset[str]:
    """The traits of the family's tiny checkpoint."""
    return frozenset(traits(load(tiny_folder(family, base() / f"{family}-tiny"), device="cpu")))


def outcome(run: Run, suite: str) -> str:
    """A cell: runs, or refuses and why."""
    record = run.manifest.suites[suite]
    return {"done": "runs", "skipped": f"refuses: {record.error}"}.get(
        record.status, f"{record.status}: {record.error}"
    )


def row(family: str) -> str:
    """The family's row of the first table."""
    cells = [outcome(run_of(family), suite) for suite in SUITES]
    return f"| {family} | {' | '.join(cells)} | {', '.join(t for t in TRAITS if t in traits_of(family))} |"


def left_out(family: str) -> list[str]:
    """The family's rows of the second table: what its architecture rules out, not what was switched off."""
    run, found = run_of(family), []
    for suite in run.done():
        for missing in run.result(suite).not_computed:
            if "in this family" in missing.why:
                what = missing.what.removesuffix(" of Own")
                found.append(f"| {family} | {suite} | {what} | {missing.why} |")
        notes = [note for note in run.result(suite).notes if "MLP 0" in note]
        found += [f"| {family} | {suite} | the first MLP before OV maps | {note} |" for note in notes]
    return found


def page() -> str:
    """docs/models.md."""
    rows = "\n".join(row(family) for family in FAMILIES)
    return HEAD + rows + "\n" + TAIL + "\n".join(line for family in FAMILIES for line in left_out(family)) + NOT_FINITE


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""docs/smollm2.md and its figures, from the stored run of SmolLM2-135M-Instruct.

`python -m tests.docs.smollm2` writes them anew; every number on the page is read from the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from reportgen.figures import export
from reportgen.report.build import find_figure
from reportgen.runfolder import Run
from reportgen.scores import HeadScores, head_name, parse_head

ROOT = Path(__file__).parents[2]
RUN = ROOT / "site" / "runs" / "smollm2-135m-instruct"
PAGE = ROOT / "docs" / "smollm2.md"
FIGURES = {  # file in docs/figures -> figure of the run
    "smollm2-names.svg": "relations-name_copying-country_to_capital",
    "smollm2-ioi.svg": "circuits-ioi-graph",
}


class Numbers:
    """The run's numbers as the page prints them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.scores: dict[str, HeadScores] = {s.key: s for r in run.results.values() for s in r.scores}
        self.tasks: dict[str, Any] = dict(run.result("circuits").facts["tasks"])  # type: ignore[arg-type,call-overload]

    def of(self, key: str, head: str) -> str:
        """`0.80 [0.74, 0.86]`."""
        scores, at = self.scores[key], parse_head(head)
        value = number(float(scores.values[at]))
        if scores.low is None or scores.high is None or not np.isfinite(scores.low[at]):
            return value
        return f"{value} [{number(float(scores.low[at]))}, {number(float(scores.high[at]))}]"

    def place(self, key: str, head: str) -> int:
        """The head's place by value, from 1."""
        return self.scores[key].ranking().index(parse_head(head)) + 1

    def best(self, key: str, count: int = 1) -> str:
        """`L18H6 (0.90 [0.87, 0.92])`, the highest `count` of them."""
        names = [head_name(*head) for head in self.scores[key].ranking()[:count]]
        return ", ".join(f"{name} ({self.of(key, name)})" for name in names)

    def heads(self, key: str) -> str:
        """`L23H0, L23H2` of a computed set."""
        sets = {s.key: s for r in self.run.results.values() for s in r.head_sets}
        return ", ".join(head_name(*head) for head in sorted(sets[key].heads)) or "none"


def number(value: float) -> str:
    """Two decimals with a true minus sign."""
    return f"{value:.2f}".replace("-", "\u2212")


def interval(pair: Any) -> str:
    low, high = pair
    return f"[{number(low)}, {number(high)}]"


COPYING, CAPITAL = "relations/score/name_copying", "relations/score/country_to_capital"
SUPPRESSION = "relations/suppression/name_copying"


def page(run: Run) -> str:
    """docs/smollm2.md."""
    n = Numbers(run)
    model, ioi, capitals = run.manifest.model, n.tasks["ioi"], n.tasks["capitals"]
    sections = (_head(n, model), _agree(n, ioi, capitals), _surprise(n), _fails(n, ioi, capitals), _rest(n), _limits(n))
    return "\n".join(sections)


def _head(n: Numbers, model: Any) -> str:
    return f"""\
# SmolLM2-135M-Instruct

What the report of this model says, in two pages. The model has {model.n_layers} layers of {model.n_heads} query heads
({model.n_kv_heads} key-value heads a layer) and {model.n_params / 1e6:.0f} M parameters. Its weights are those of a
GGUF file, {model.dequantised}: a quantised model, not the checkpoint that it was made from. `make real` fetches the
file, checks its sha256 and scores it with every suite; the stored run is in
[site/runs/smollm2-135m-instruct](../site/runs/smollm2-135m-instruct) ({_how(n.run)}). Every number on this
page is read from that run by `python -m tests.docs.smollm2`; brackets are 95 % intervals, and those of a head that was
picked as the best of {model.n_layers * model.n_heads} are too narrow for the pick.
"""


def _how(run: Run) -> str:
    """`preset quick, circuits.added = 0, seed 0`: what was asked for."""
    manifest = run.manifest
    given = [
        f"{suite}.{name} = {value}" for suite, record in manifest.suites.items() for name, value in record.given.items()
    ]
    return ", ".join([f"preset {manifest.preset}", *given, f"seed {manifest.seed}"])


def _agree(n: Numbers, ioi: Any, capitals: Any) -> str:
    rows = "\n".join(
        f"| {head} | {n.of(COPYING, head)} | {n.of(CAPITAL, head)} | {n.of('circuits/direct/ioi', head)} "
        f"| {n.of('circuits/direct/capitals', head)} |"
        for head in ("L23H0", "L23H2", "L23H4")
    )
    return f"""\
## Where weights, prompts and causes agree

![Maps of name copying and country to capital, with the heads found on prompts](figures/smollm2-names.svg)

Colours are read from the weights alone: for what share of words a head's OV circuit puts the related word among its top
logits. Crosses are found on prompts alone, by path patching, attention and what OV writes. They meet on the same heads
of layer 23.

| head | name copying (weights, n = {n.scores[COPYING].n}) | country to capital (weights, n = {n.scores[CAPITAL].n}) \
| direct effect, IOI | direct effect, capitals |
|---|---|---|---|---|
{rows}

- The highest name-copying scores of the model are {n.best(COPYING, 2)}. The name movers that prompts name are
  {n.heads("circuits/ioi/name_movers")}.
- The highest country-to-capital score is {n.best(CAPITAL)}; the heads that carry capitals on prompts are
  {n.heads("circuits/capitals/movers")}.
- The model does both tasks: it puts the answer above its foil on {ioi["accuracy"]:.0%} of {ioi["n"]} IOI prompts (gap
  {number(ioi["gap"])} logits) and on {capitals["accuracy"]:.0%} of {capitals["n"]} prompts about capitals.
"""


def _surprise(n: Numbers) -> str:
    direct, answer, foil = (f"circuits/{m}/ioi" for m in ("direct", "dla_answer", "dla_foil"))
    return f"""\
## What surprised

L23H3 has place {n.place(direct, "L23H3")} of {n.scores[direct].values.size} by direct effect on IOI,
{n.of(direct, "L23H3")} of the gap, and it moves no name. It reads the repeated subject and suppresses it: its part on
the answer's logit is {n.of(answer, "L23H3")}, its part on the foil's {n.of(foil, "L23H3")}. The weights say the same:
its suppression score is {n.of(SUPPRESSION, "L23H3")}, place {n.place(SUPPRESSION, "L23H3")}. A tool that reads the
answer's logit alone misses the largest effect of this circuit.
"""


def _fails(n: Numbers, ioi: Any, capitals: Any) -> str:
    kept, caps = ioi["faithfulness"]["circuit"], capitals["faithfulness"]["circuit"]
    families = ioi["families"]
    return f"""\
## What fails

![The indirect-object circuit by layer](figures/smollm2-ioi.svg)

- **The IOI circuit is not the whole story.** With every head outside it replaced by its mean, the {kept["size"]} heads
  keep {number(kept["kept"])} {interval(kept["kept_interval"])} of the gap; random sets of that size and norm keep
  {number(kept["random_kept"]["mean"])}. What it lacks acts through heads that none of its stages selects.
  The circuit for capitals ({caps["size"]} heads) keeps {number(caps["kept"])}
  {interval(caps["kept_interval"])}.
- **Patching misses a head.** {_added(ioi["faithfulness"]["added"])}
- **Total effects above 256 heads are partly estimates.** {ioi["attribution"]["n_exact"]} of
  {n.scores["circuits/total/ioi"].values.size} heads have an exact value (a filled corner on the map);
  the others are estimated by
  attribution, whose rank correlation with exact values of random heads is {number(ioi["attribution"]["spearman"])}.
  Nothing is claimed from an estimate.
- **Other words.** Of {families["tried"]} heads whose total effect was measured again on rephrased prompts,
  {len(families["both"])} have it there, too. The rephrased prompts are of the same style:
  a head that a freer paraphrase would drop, such as L16H0, is not caught by them.
"""


def _added(added: Any) -> str:
    """What the heads added one by one bring, on the half of the templates that they were not chosen on."""
    both = ", ".join(added["both"]) or "no head"
    ways = "; ".join(
        f"with {way['heads'][0]} {number(way['kept'][0])} becomes {number(way['kept'][1])}, with {way['heads'][1]} too "
        f"{number(way['kept'][2])}"
        for way in added["ways"]
    )
    return (
        "Heads outside the circuit were added one by one, chosen on half of the\n"
        f"  templates and measured on the other: {ways}.\n  Both halves choose {both}. "
        "Patching sees what differs between clean and corrupted prompts; what a head does\n"
        "  alike in both shows only when it is taken away."
    )


def _rest(n: Numbers) -> str:
    greater, colored = n.tasks["greater_than"], n.tasks["colored_objects"]
    return f"""\
## The rest in short

- Induction: {n.best("attention/induction/repeated_tokens", 2)}.
- Previous token: {n.best("attention/previous_token/repeated_tokens")}.
- Greater-than: this tokenizer writes years digit by digit, so the task asks for the decade's digit
  ({greater["title"]}): {_done(greater)}.
- Coloured objects: {_done(colored)}.
"""


def _done(task: Any) -> str:
    if not task["done"]:
        return f"no circuit is given, since {task['why']}"
    return f"right on {task['accuracy']:.0%} of {task['n']} prompts, gap {number(task['gap'])}"


def _limits(n: Numbers) -> str:
    return """\
## What no figure here can show

- Whether the same heads do this in the model before quantisation, in the base model, or in a larger one.
- What the heads do on text at large: narrow tasks flatter, and the roles here are roles on these prompts.
- That a circuit is complete: heads are the only parts that were patched; MLPs recompute throughout.
- Agreement with a published classification: there is none of this model, so nothing here is compared with one.
"""


def written() -> dict[Path, str]:
    """The page and its figures, path -> content."""
    run = Run.open(RUN)
    drawn = {PAGE.parent / "figures" / file: export.svg(find_figure(run, figure)) for file, figure in FIGURES.items()}
    return {PAGE: page(run), **drawn}


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")

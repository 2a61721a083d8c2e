"""docs/smollm2.md and its figures, from the stored run of SmolLM2-135M-Instruct.

`python -m tests.docs.smollm2` writes them anew; every number on the page is read from the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reportgen.figures import export
from reportgen.report.build import find_figure
from reportgen.runfolder import Run
from reportgen.scores import HeadScores, head_name, parse_head
from reportgen.suites.ranked import Ranked, ranked
from reportgen.suites.weights.found import SCORES
from reportgen.suites.weights.suite import SUITE as WEIGHTS

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

    def facts(self, suite: str) -> Any:
        return self.run.result(suite).facts

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
    sections = (
        _head(n, model),
        _agree(n, ioi, capitals),
        _surprise(n),
        _fails(n, ioi, capitals),
        _weights(n),
        _text(n),
        _retrieval(n),
        _in_context(n),
        _rest(n),
    )
    return "\n".join((*sections, _limits()))


def _head(n: Numbers, model: Any) -> str:
    return f"""\
# SmolLM2-135M-Instruct

A two-page summary of this model's report. The model has {model.n_layers} layers of {model.n_heads} query heads
({model.n_kv_heads} key-value heads per layer) and {model.n_params / 1e6:.0f} M parameters. Its weights come from a
GGUF file, {model.dequantised}: a quantised model, not the original checkpoint. `make real` fetches the
file, checks its sha256 and scores it with every suite; the stored run is in
[site/runs/smollm2-135m-instruct](../site/runs/smollm2-135m-instruct) ({_how(n.run)}). Every number on this
page is read from that run by `python -m tests.docs.smollm2`. Brackets are 95 % intervals; those of a head selected as
the best of {model.n_layers * model.n_heads} do not account for the selection.
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

Colours come from the weights alone: the share of words for which a head's OV circuit puts the related word among its
top logits. Crosses come from prompts alone: path patching, attention and what OV writes. They agree on the same heads
of layer 23.

| head | name copying (weights, n = {n.scores[COPYING].n}) | country to capital (weights, n = {n.scores[CAPITAL].n}) \
| direct effect, IOI | direct effect, capitals |
|---|---|---|---|---|
{rows}

- The highest name-copying scores are {n.best(COPYING, 2)}. The name movers found on prompts are
  {n.heads("circuits/ioi/name_movers")}.
- The highest country-to-capital score is {n.best(CAPITAL)}; the heads that move capitals on prompts are
  {n.heads("circuits/capitals/movers")}.
- The model solves both tasks: it ranks the answer above the foil on {ioi["accuracy"]:.0%} of {ioi["n"]} IOI prompts
  (gap {number(ioi["gap"])} logits) and on {capitals["accuracy"]:.0%} of {capitals["n"]} prompts about capitals.
"""


def _surprise(n: Numbers) -> str:
    direct, answer, foil = (f"circuits/{m}/ioi" for m in ("direct", "dla_answer", "dla_foil"))
    return f"""\
## What surprised

L23H3 ranks {n.place(direct, "L23H3")} of {n.scores[direct].values.size} by direct effect on IOI,
{n.of(direct, "L23H3")} of the gap, but it is not a name mover. It reads the repeated subject and suppresses it: its
contribution to the answer's logit is {n.of(answer, "L23H3")}, to the foil's {n.of(foil, "L23H3")}. The weights agree:
its suppression score is {n.of(SUPPRESSION, "L23H3")}, rank {n.place(SUPPRESSION, "L23H3")}. A tool that reads only the
answer's logit misses the largest effect of this circuit.
"""


def _fails(n: Numbers, ioi: Any, capitals: Any) -> str:
    kept, caps = ioi["faithfulness"]["circuit"], capitals["faithfulness"]["circuit"]
    families = ioi["families"]
    return f"""\
## What fails

![The indirect-object circuit by layer](figures/smollm2-ioi.svg)

- **The IOI circuit is incomplete.** With every head outside it replaced by its mean, the {kept["size"]} heads
  keep {number(kept["kept"])} {interval(kept["kept_interval"])} of the gap; random sets matched in size and norm keep
  {number(kept["random_kept"]["mean"])}. The rest acts through heads that none of its stages selects.
  The circuit for capitals ({caps["size"]} heads) keeps {number(caps["kept"])}
  {interval(caps["kept_interval"])}.
- **Patching misses a head.** {_added(ioi["faithfulness"]["added"])}
- **Total effects of models with more than 256 heads are partly estimates.** {ioi["attribution"]["n_exact"]} of
  {n.scores["circuits/total/ioi"].values.size} heads have an exact value (a filled corner on the map);
  the others are estimated by
  attribution, whose rank correlation with exact values of random heads is {number(ioi["attribution"]["spearman"])}.
  No claim rests on an estimate.
- **Rephrased prompts.** Of {families["tried"]} heads whose total effect was measured again on rephrased prompts,
  {len(families["both"])} have it there too. The rephrased prompts are similar in style,
  so they do not catch heads that a freer paraphrase would drop, such as L16H0.
"""


def _added(added: Any) -> str:
    """What the heads added one by one bring, on the half of the templates that they were not chosen on."""
    both = ", ".join(added["both"]) or "no head"
    ways = "; ".join(
        f"{number(way['kept'][0])} becomes {number(way['kept'][1])} with {way['heads'][0]} and "
        f"{number(way['kept'][2])} with {way['heads'][1]} as well"
        for way in added["ways"]
    )
    return (
        "Heads outside the circuit were added one by one, selected on one half of the\n"
        f"  templates and measured on the other: {ways}.\n  Both halves select {both}. "
        "Patching detects only what differs between clean and corrupted prompts; what a head\n"
        "  does in both shows only under ablation."
    )


def _rest(n: Numbers) -> str:
    greater, colored = n.tasks["greater_than"], n.tasks["colored_objects"]
    return f"""\
## Other results

- Induction: {n.best("attention/induction/repeated_tokens", 2)}.
- Previous token: {n.best("attention/previous_token/repeated_tokens")}.
- Greater-than: this tokenizer writes years digit by digit, so the task asks for the decade's digit
  ({greater["title"]}): {_done(greater)}.
- Coloured objects: {_done(colored)}.
"""


def _done(task: Any) -> str:
    if not task["done"]:
        return f"no circuit is reported, because {task['why']}"
    return f"right on {task['accuracy']:.0%} of {task['n']} prompts, gap {number(task['gap'])}"


TITLES = {measure.name: measure.title for measure in WEIGHTS.measures}
NAMED = ("L23H0", "L23H2", "L23H4")
PROMPTED = (  # heads that prompts find, and what they are called there
    (("L23H0", "L23H2"), "name movers"),
    (("L23H3",), "suppresses the repeated subject"),
    (("L18H6",), "induction"),
)


def _weights(n: Numbers) -> str:
    rows = []
    sample = next(s for r in n.run.results.values() for s in r.head_sets)
    for names, role in PROMPTED:
        of = replace(sample, heads=tuple(parse_head(name) for name in names), weights={})
        found = {key: one for key in SCORES if (one := ranked(n.scores[_weights_key(n, key)], of)) is not None}
        best = sorted(found, key=lambda key: -found[key].auroc)[:2]
        cells = "; ".join(f"{TITLES[key]} {_places(found[key], names)}, AUROC {found[key].auroc:.3f}" for key in best)
        rows.append(f"| {', '.join(names)} | {role} | {cells} | {_places(found['copying'], names)} |")
    k = n.facts("weights")["composition"]["k"]
    return f"""\
## What the weights alone say

No prompt is run for these scores. The table gives, for heads that prompts found, the two scores that rank them highest
among the {n.scores[_weights_key(n, "copying")].values.size} heads, and
their places by plain eigenvalue copying. With one or two heads an AUROC near 1 happens by chance more often than it
seems; the report gives its null.

| heads | on prompts | ranked highest by | place by copying |
|---|---|---|---|
{chr(10).join(rows)}

Of {k["pairs"]:,} pairs of heads, {k["beyond"]:,} compose through keys beyond the family-wise line.
"""


def _weights_key(n: Numbers, measure: str) -> str:
    return next(key for key in n.scores if key.startswith(f"weights/{measure}/"))


def _places(found: Ranked, names: Sequence[str]) -> str:
    """`rank 1 and 2`: of the heads named, in that order."""
    return "rank " + " and ".join(f"{found.ranks[parse_head(name)]:g}" for name in names)


def _text(n: Numbers) -> str:
    facts = n.facts("text")
    rows = "\n".join(
        f"| {one['head']} | {one['label']} | {one['share']:.1%} [{one['low']:.1%}, {one['high']:.1%}] "
        f"| {one['chance']:.1%} |"
        for one in sorted(facts["wide"], key=lambda one: -one["share"])
        if one["head"] in NAMED or "Induction" in one["label"]
    )
    return f"""\
## What is left of these roles on ordinary text

Share of a head's squared output norm, over {facts["tokens"]:,} tokens in {facts["units"]} {facts["unit"]}, that falls
on events of its role: the induction heads, and the heads of layer 23 that the tasks above name. Chance is the same at
keys of the same distance. The report has the other roles.

| head | role on prompts | share on text | chance |
|---|---|---|---|
{rows}
"""


def _retrieval(n: Numbers) -> str:
    facts = n.facts("retrieval")
    recall, copy, write = facts["recall"], "retrieval/copy/needles", "retrieval/write/needles"
    (literal, asked), (other, _) = recall["by_kind"]["literal"], recall["by_kind"]["paraphrased"]
    return f"""\
## Answers copied out of a document

{facts["documents"]} documents of {facts["grid"][-1]["tokens"]} tokens hold {facts["facts"]} facts each; every fact is
asked for. The model answers {recall["right"]} of {recall["asked"]} questions
({interval((recall["low"], recall["high"]))}):
{literal} of {asked} where the question repeats the fact's words, {other} of {asked} where it paraphrases them, and
{recall["other_document"][0]} of {recall["other_document"][1]} where the document does not hold the fact.

- Highest in copying (share of right answer tokens that are the head's strongest key): {n.best(copy, 3)}.
- Highest in writing the answer (logits): {n.best(write, 3)}. {_shared(n, "retrieval/needles/retrieval_heads")}
- L18H6, the strongest induction head, ranks {n.place(copy, "L18H6")} by copying ({n.of(copy, "L18H6")}). With random
  tokens in place of things and answers it scores {_control(n, copy, "random tokens", "L18H6")}: what it does here needs
  no meaning.
"""


def _control(n: Numbers, key: str, name: str, head: str) -> str:
    """A head's score in a control."""
    values = next(c.values for c in n.scores[key].controls if c.name == name)
    assert values is not None
    return number(float(values[parse_head(head)]))


def _shared(n: Numbers, key: str) -> str:
    """Which of the heads that tasks name are in a set."""
    of = n.heads(key).split(", ")
    named = [head for head in (*NAMED, "L23H3") if head in of]
    return f"By the suite's rule, {', '.join(named) or 'none'} of the heads of layer 23 above are retrieval heads."


def _in_context(n: Numbers) -> str:
    facts = n.facts("icl")
    asked = [task for task in facts["gate"] if not task.get("control")]
    passed = [task["title"].lower() for task in asked if task["passed"]]
    aie, specific = "icl/aie/all_tasks", "icl/specific/all_tasks"
    return f"""\
## Tasks learnt from examples

Of {len(asked)} tasks the model learns {len(passed)} from {facts["shots"]} examples ({", ".join(passed)}). A
head's mean output on intact prompts is put into prompts whose examples are deranged; the effect is the gain in log
probability of the answer.

- Largest effect: {n.best(aie, 3)} nats; beyond another task's mean: {n.best(specific, 2)}.
- Of {facts["heads"]} heads {facts["exact"]} have an exact value; the gradient that chose them ranks random heads with a
  correlation of {number(facts["spearman_random"])}.
- Function-vector heads by the suite's rule: {n.heads("icl/all_tasks/function_vector_heads")}.
"""


def _limits() -> str:
    return """\
## Limits

- Whether the same heads do this before quantisation, in the base model or in a larger one is not known.
- The roles are roles on these prompts; the section on ordinary text says how much of a head's output they are.
- No circuit is shown to be complete: only heads were patched, and MLPs recompute throughout.
- There is no published classification of this model to compare with.
"""


def written() -> dict[Path, str]:
    """The page and its figures, path -> content."""
    run = Run.open(RUN)
    drawn = {PAGE.parent / "figures" / file: export.svg(find_figure(run, figure)) for file, figure in FIGURES.items()}
    return {PAGE: page(run), **drawn}


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")

"""A run's results as a section of a Hugging Face model card: a model-index block in YAML, and text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reportgen.methods.account import Account
from reportgen.methods.write import markdown
from reportgen.report.labels import score_names
from reportgen.report.text import interval, number
from reportgen.runfolder import Run
from reportgen.scores import HeadScores, SuiteResult, head_name

MOST = 30  # results in the block
TASK = {"type": "text-generation", "name": "Interpretability of attention heads"}


def card(run: Run, account: Account, suites: list[str]) -> str:
    """Front matter for README.md, then a section; an existing card's front matter has to take the block in."""
    results = [result for name in suites for result in _results(run.result(name))]
    block = {"model-index": [{"name": run.model.hub_id or run.model.id, "results": results[:MOST]}]}
    lines = ["---", *_yaml(block), "---", "", "# Attention heads", ""]
    lines.append(
        f"Every attention head of {_md(account.model)}, scored with reportgen. Where a score has halves of its "
        "examples, its best head is picked on one and measured on the other."
    )
    lines.append("")
    lines += ["| score | best head | value | 95 % interval | n |", "|---|---|---|---|---|"]
    lines += [_row(result) for result in results[:MOST]]
    left = len(results) - MOST
    if left > 0:
        lines.append("")
        lines.append(f"{left} more scores are in the run's report.")
    return "\n".join([*lines, "", markdown(account).rstrip()]) + "\n"


def _results(result: SuiteResult) -> Iterator[dict[str, Any]]:
    names = score_names([result])
    for score in result.scores:
        best = _best(score)
        if best is None:
            continue
        head, value, low, high, n, how = best
        ends = [round(low, 4), round(high, 4)] if low is not None and high is not None else None
        yield {
            "task": TASK,
            "dataset": {"type": score.suite, "name": names.get(score.key, score.label), "config": score.task},
            "metrics": [{
                "type": score.measure, "name": f"{score.label}, best head {head}", "value": round(value, 4),
                "args": {"head": head, "n": n, "chosen": how, "interval_95": ends},
            }],
        }  # fmt: skip


def _best(score: HeadScores) -> tuple[str, float, float | None, float | None, int, str] | None:
    """The best head, held out where the score has halves; None where no head has a value."""
    held = score.held_out
    if held is not None:
        return held.head, held.value, held.low, held.high, held.n, f"on {held.chosen}, measured on {held.measured}"
    ranked = score.ranking()
    if not ranked:
        return None
    at = ranked[0]
    low, high = (None if grid is None else float(grid[at]) for grid in (score.low, score.high))
    return head_name(*at), float(score.values[at]), low, high, score.n, "at face value, which is biased upwards"


def _row(result: Mapping[str, Any]) -> str:
    metric = result["metrics"][0]
    args = metric["args"]
    ends = args["interval_95"] or (None, None)
    return (
        f"| {_md(result['dataset']['name'])} | {args['head']} | {number(metric['value'])} | "
        f"{interval(ends[0], ends[1])} | {args['n']:,} |"
    )


def _md(words: str) -> str:
    return " ".join(words.split()).replace("|", r"\|").replace("<", r"\<")


def _yaml(value: Any, depth: int = 0) -> Iterator[str]:
    """Mappings and lists as YAML lines; every string is quoted as JSON, which is YAML."""
    pad = "  " * depth
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(inner, Mapping) or (isinstance(inner, list) and any(isinstance(i, Mapping) for i in inner)):
                yield f"{pad}{name}:"
                yield from _yaml(inner, depth + 1)
            else:
                yield f"{pad}{name}: {json.dumps(inner, ensure_ascii=False)}"
    else:
        for item in value:
            first, *rest = _yaml(item, depth + 1)
            yield f"{pad}- {first.strip()}"
            yield from rest

"""`reportgen replicate`: a target's claims held against a run of its suites, scored now or stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reportgen import suites
from reportgen.errors import SettingsError, UnknownScore, nearest, one_line
from reportgen.files import expanded, is_file, is_folder
from reportgen.mini import bundled_folder
from reportgen.published import short_citation
from reportgen.report.about import setting_words
from reportgen.report.text import interval, number, plural
from reportgen.runfolder import Run
from reportgen.scores import HeadScores, head_name, parse_head
from reportgen.targets import rules
from reportgen.targets.read import Claim, Target, chosen, described, listed
from reportgen.targets.rules import Verdict

CODES: Mapping[str, int] = {"reproduced": 0, "partly": 1, "not": 1, "not comparable": 2}


@dataclass(frozen=True)
class Answer:
    """One claim: the published number or list and ours, in words, with n, interval, p, the verdict and why.

    numbers  the same as JSON values
    """

    what: str
    published: str
    ours: str
    n: str
    interval: str
    p: str
    verdict: Verdict
    why: str = ""
    numbers: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Replication:
    """A target against a run; `run` None: there is none, and why stands in every answer."""

    target: Target
    model: str
    run: Run | None
    answers: tuple[Answer, ...]

    @property
    def code(self) -> int:
        """0 all reproduced, 1 some not or only partly, 2 nothing could be compared; claims left out do not count."""
        codes = {CODES[answer.verdict] for answer in self.answers}
        return 1 if 1 in codes else 0 if 0 in codes else 2


def missing_suites(target: Target) -> list[str]:
    """Suites of the target that this installation has not."""
    known = suites.known()
    return [name for name in target.suites if name not in known]


def replicate(target: Target, run: Run | None, model: str, why: str = "") -> Replication:
    """Every claim of `target` against `run`, whose heads are those of `model` (a hub id, or a bundled name).

    why  the reason, where there is no run
    """
    if run is None:
        return Replication(target, model, None, tuple(_left(target, claim, model, why) for claim in target.claim))
    answers = (_answer(target, claim, model, run) for claim in target.claim)
    return Replication(target, model, run, tuple(map(_made_up, answers) if is_made_up(run) else answers))


def is_made_up(run: Run) -> bool:
    """Whether weights or numbers of a run are made up: random ones, say. By chance they pass a rule now and then."""
    return run.manifest.synthetic or run.model.synthetic


def _made_up(answer: Answer) -> Answer:
    """The answer of a run that is made up: a claim that its numbers meet is not reproduced by them."""
    if answer.verdict not in ("reproduced", "partly"):
        return answer
    why = f"weights or numbers are made up, so that {answer.verdict!r} by the rule is chance"
    return replace(answer, verdict="not comparable", why="; ".join(filter(None, (why, answer.why))))


def model_of(target: Target, run: Run, said: str = "") -> str:
    """Which of the target's models a stored run is of.

    said  the model that the user says it is

    Raises SettingsError where it is none: head indices mean nothing in another model.
    """
    if target.content_hash:
        if run.model.content_hash != target.content_hash:
            raise SettingsError(
                f"{run.path} is of other weights than target {target.key}: {run.model.content_hash[:12]}, not "
                f"{target.content_hash[:12]}.",
                f"Score {target.models[0]}.",
            )
        return target.models[0]
    for name in (said, run.model.hub_id, run.model.id if run.model.source == "bundled" else ""):
        if name and (found := chosen(target, name)):
            return found
    raise SettingsError(
        f"{run.path} is a run of {run.model.name}, target {target.key} is about {', '.join(target.models)}.",
        f"If it is that model under another name, add --published {target.models[0]}.",
    )


def check_model(target: Target, name: str, published: str) -> None:
    """Before anything is scored: SettingsError where heads of model `name` could not be matched to the target's.

    Models are matched by hub id, never by the name of a folder.
    """
    if published and not chosen(target, published):
        raise SettingsError(
            f"--published {published!r}: target {target.key} is about {', '.join(target.models)}.",
            nearest(published, target.models),
        )
    is_path = bundled_folder(name) is None and (is_folder(expanded(name)) or is_file(expanded(name)))
    if not (target.content_hash or published or (chosen(target, name) and not is_path)):
        raise SettingsError(
            f"Target {target.key} is about {', '.join(target.models)}, not {name}.",
            f"If it is that model under another name, add --published {target.models[0]}.",
        )


def _left(target: Target, claim: Claim, model: str, why: str) -> Answer:
    """A claim that nothing is held against."""
    return Answer(claim.what, _published(target, claim, model), "–", "–", "–", "–", "not comparable", why)


def _published(target: Target, claim: Claim, model: str) -> str:
    if claim.kind == "list":
        heads = listed(target, claim, model)
        return (
            f"{plural(len(heads), 'head')}: {described([head_name(*head) for head in heads])}" if heads else "no list"
        )
    if claim.kind == "scores":
        return plural(len(claim.values), "number")
    if claim.value is None:
        return "–"
    ends = f" {interval(claim.low, claim.high)}" if claim.low is not None else ""
    return f"{number(claim.value)}{ends}"


def _answer(target: Target, claim: Claim, model: str, run: Run) -> Answer:
    why = claim.not_comparable or _not_comparable(target, claim, run)
    if why:
        return _left(target, claim, model, why)
    if claim.table:
        return _of_table(target, claim, model, run)
    try:
        score = run[claim.score]
    except UnknownScore as error:
        return _left(target, claim, model, f"the run has no such score: {error}")
    judge = {"list": _of_list, "scores": _of_scores, "number": _of_number}[claim.kind]
    return judge(target, claim, model, score)


def _not_comparable(target: Target, claim: Claim, run: Run) -> str:
    """Why a run cannot be held against a claim: the suite is missing, or ran with other settings than the source's."""
    if claim.suite not in suites.drawable([claim.suite]):
        return f"no suite {claim.suite!r} is installed"
    record = run.manifest.suites.get(claim.suite)
    if record is None or record.status != "done":
        said = f": {record.error}" if record and record.error else ""
        return f"the run has no result of suite {claim.suite}{said}"
    known = suites.drawable([claim.suite])[claim.suite]
    wanted = known.make_settings(target.preset, target.settings.get(claim.suite, {}))
    for name in target.settings.get(claim.suite, {}):
        want, has = getattr(wanted, name), record.settings.get(name)
        if _listed(want) != _listed(has):
            ours, theirs = (setting_words(known, name, value) for value in (has, want))
            return f"{claim.suite}.{name} is {ours} in the run, {theirs} in the source"
    return ""


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _sided(score: HeadScores, side: str) -> Any:
    values = score.exact_values.astype(np.float64)
    return {"high": values, "low": -values, "size": np.abs(values)}[side]


def _of_list(target: Target, claim: Claim, model: str, score: HeadScores) -> Answer:
    heads = listed(target, claim, model)
    shape = score.values.shape
    if not heads:
        return _left(target, claim, model, f"no list of {model} is known")
    if any(layer >= shape[0] or head >= shape[1] for layer, head in heads):
        return _left(target, claim, model, f"the list has heads outside the grid of {shape[0]} x {shape[1]} heads")
    member = np.zeros(shape, dtype=bool)
    member[tuple(np.array(heads).T)] = True
    found = rules.against_list(_sided(score, claim.side), member)
    if found is None:
        return _left(target, claim, model, "no listed head, or no other head, has a value")
    gone = len(heads) - found.listed
    side = {"high": "", "low": ", lowest first", "size": ", by size"}[claim.side]
    why = [f"{score.key}{side}, {plural(score.n, 'example')}"]
    if gone:
        why.append(f"{plural(gone, 'listed head')} without a value")
    if found.least > rules.P:
        why.append(f"so few heads allow no p below {found.least:.3g}")
    if not _verified(target, claim, model):
        why.append("list not confirmed in its paper")
    return Answer(
        claim.what, _published(target, claim, model), f"AUROC {number(found.auroc)}",
        f"{found.listed} of {found.heads} heads", interval(found.low, found.high),
        f"{found.p:.2g}", found.verdict, "; ".join(why),
        {"score": score.key, "side": claim.side, "heads": [head_name(*head) for head in heads], "auroc": found.auroc,
         "low": found.low, "high": found.high, "p": found.p, "least_p": found.least, "listed": found.listed,
         "of": found.heads, "n": score.n},
    )  # fmt: skip


def _verified(target: Target, claim: Claim, model: str) -> bool:
    from reportgen.targets.read import entries

    return claim.verified and all(entry.verified for entry in (entries(target, claim, model) if claim.entry else ()))


def _of_number(target: Target, claim: Claim, model: str, score: HeadScores) -> Answer:
    assert claim.value is not None
    held = score.held_out
    remark = ""
    if claim.at == "best" and held is not None:
        name, ours, low, high, n = held.head, held.value, held.low, held.high, held.n
        remark = f"{name}, picked on {held.chosen}, measured on {held.measured}"
    else:
        ranked = score.ranking()
        if claim.at == "best" and not ranked:
            return _left(target, claim, model, "no head has a value")
        at = ranked[0] if claim.at == "best" else parse_head(claim.at)
        if at[0] >= score.values.shape[0] or at[1] >= score.values.shape[1]:
            return _left(target, claim, model, f"{claim.at} is outside the grid")
        ours, n = float(score.exact_values[at]), score.n
        low, high = (math.nan if grid is None else float(grid[at]) for grid in (score.low, score.high))
        remark = f"{head_name(*at)}, at face value" if claim.at == "best" else head_name(*at)
    if math.isnan(ours):
        return _left(target, claim, model, "this head has no exact value")
    ends = _plain(low), _plain(high)
    verdict = rules.against_number(claim.value, ours, ends[0], ends[1], claim.tolerance)
    why = f"{score.key}: {remark}" + ("" if claim.verified else "; published number not confirmed")
    return Answer(
        claim.what, _published(target, claim, model), number(ours), plural(n, "example"),
        interval(ends[0], ends[1]), "–", verdict, why,
        {"score": score.key, "published": claim.value, "value": ours, "low": ends[0], "high": ends[1], "n": n},
    )  # fmt: skip


def _of_scores(target: Target, claim: Claim, model: str, score: HeadScores) -> Answer:
    heads = [parse_head(name) for name in claim.values]
    shape = score.values.shape
    if any(layer >= shape[0] or head >= shape[1] for layer, head in heads):
        return _left(target, claim, model, f"heads outside the grid of {shape[0]} x {shape[1]} heads")
    at = tuple(np.array(heads).T)
    grids = [score.exact_values, *(np.full(shape, np.nan) if g is None else g for g in (score.low, score.high))]
    ours, low, high = (np.asarray(grid, dtype=np.float64)[at] for grid in grids)
    found = rules.against_scores(list(claim.values.values()), ours, low, high, claim.tolerance)
    if found is None:
        return _left(target, claim, model, "no listed head has a value")
    rho = "" if math.isnan(found.rho) else f", Spearman {number(found.rho, 2)}"
    rows = [
        {"head": name, "published": want, "value": _plain(a), "low": _plain(b), "high": _plain(c)}
        for (name, want), a, b, c in zip(claim.values.items(), ours, low, high, strict=True)
    ]
    return Answer(
        claim.what, _published(target, claim, model), f"{found.held} of {found.of} in our intervals{rho}",
        plural(found.of, "head"), "–", "–", found.verdict, f"{score.key}, {plural(score.n, 'example')} a head",
        {"score": score.key, "held": found.held, "of": found.of, "spearman": _plain(found.rho), "heads": rows,
         "n": score.n},
    )  # fmt: skip


def _of_table(target: Target, claim: Claim, model: str, run: Run) -> Answer:
    """A number in a stored table: it has no interval, so that only the tolerance counts."""
    assert claim.value is not None
    for table in run.result(claim.suite).tables:
        columns = [column.name for column in table.columns]
        if table.key in (claim.table, claim.table.split("/", 1)[-1]) and claim.column in columns:
            for row in table.rows:
                cell = row[columns.index(claim.column)]
                if str(row[0]) == claim.row and isinstance(cell, int | float):
                    verdict = rules.against_number(claim.value, float(cell), None, None, claim.tolerance)
                    said = {"table": claim.table, "row": claim.row, "column": claim.column, "published": claim.value}
                    return Answer(
                        claim.what, _published(target, claim, model), number(float(cell)), "–", "–", "–", verdict,
                        f"table {claim.table}: it has no interval", {**said, "value": float(cell)},
                    )  # fmt: skip
    return _left(target, claim, model, f"the run has no {claim.row}, {claim.column} in table {claim.table}")


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


# What the verb prints.

COLUMNS = ("claim", "published", "ours", "n", "95 % interval", "p", "verdict")


def lines(found: Replication) -> Iterator[str]:
    """The target, where its numbers are from, a table, and what needs saying about its rows."""
    target = found.target
    cited = short_citation(target.paper) if target.paper else target.source
    yield f"{target.key}: {target.title} ({cited})"
    if found.run is not None:
        made_up = "; SYNTHETIC: untrained weights or made-up numbers" if is_made_up(found.run) else ""
        yield f"run: {found.run.path}, {found.run.model.described}{made_up}"
    rows = [COLUMNS, *(tuple(one_line(cell) for cell in _row(answer)) for answer in found.answers)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for answer in found.answers:
        if answer.why:
            yield f"  {answer.what}: {answer.why}"


def _row(answer: Answer) -> tuple[str, ...]:
    return answer.what, answer.published, answer.ours, answer.n, answer.interval, answer.p, answer.verdict


def as_json(found: Replication) -> dict[str, object]:
    """The same as JSON values."""
    target = found.target
    return {
        "target": target.key, "title": target.title, "paper": target.paper, "source": target.source,
        "model": found.model, "run": None if found.run is None else str(found.run.path), "code": found.code,
        "synthetic": found.run is not None and is_made_up(found.run),
        "claims": [
            {"what": a.what, "published": a.published, "verdict": a.verdict, "why": a.why, **(a.numbers or {})}
            for a in found.answers
        ],
    }  # fmt: skip


def what_is_missing(target: Target, *, here: bool) -> str:
    """What a target needs that is not on this machine, in words; empty if nothing. here: its first model is."""
    if gone := missing_suites(target):
        return f"no suite {', '.join(gone)} in this version"
    if here:
        return ""
    name = target.models[0]
    fetched = "give its path" if target.content_hash else "the command fetches it"
    return f"{name} is not on this machine: {fetched}"

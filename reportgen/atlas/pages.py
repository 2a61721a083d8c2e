"""The site's pages about heads of all runs: heads.html, a page for every class of heads, and the published lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reportgen.atlas.classes import MOST_HEADS, RUNG_NAMES, HeadClass, class_key, of_heads
from reportgen.atlas.head_map import HUES, HeadMap, head_maps
from reportgen.atlas.nearest import ALPHA, MOST
from reportgen.atlas.pairs import Alike, Atlas, Pair, weight_rows
from reportgen.manifest import Manifest
from reportgen.published import Listed as Published
from reportgen.published import load_catalogue, short_citation, slug
from reportgen.report.document import Report
from reportgen.report.text import number, plural
from reportgen.scores import head_name

HEADS_PAGE = "heads.html"
MOST_FULL = 20_000  # heads up to which a link names index.html, which a page opened as a file needs without scripts


def catalogue_page(manifests: Sequence[Manifest]) -> dict[str, object]:
    """What the page of published heads shows: the catalogue by model and by class, with this site's runs of a model."""
    models: dict[str, list[Published]] = {}
    classes: dict[str, dict[str, str]] = {}
    for entry in load_catalogue().entries:
        models.setdefault(entry.model, []).append(entry)
        classes.setdefault(entry.name, {})[entry.model] = f"model-{slug(entry.model)}"
    return {
        "lists": sum(map(len, models.values())),
        "classes": [
            (name, f"classes/{class_key(name)}.html", list(where.items()))
            for name, where in sorted(classes.items(), key=lambda c: c[0].lower())
        ],
        "models": [
            {
                "name": name,
                "anchor": f"model-{slug(name)}",
                "grid": f"{found[0].n_layers} × {plural(found[0].n_heads, 'head')}",
                "runs": [m.model.slug for m in manifests if found[0].applies_to(m.model.hub_id)],
                "entries": [_entry(entry) for entry in found],
            }
            for name, found in models.items()
        ],
    }


def _entry(entry: Published) -> dict[str, object]:
    shown = [head_name(*head) for head in entry.heads[:MOST_HEADS]]
    left = len(entry.heads) - len(shown)
    return {
        "name": entry.name,
        "task": entry.task,
        "heads": ", ".join(shown) + (f" and {left} more" if left else ""),
        "paper": short_citation(entry.paper),
        "where": entry.where or entry.source,
        "unconfirmed": not entry.verified,
    }


@dataclass(frozen=True)
class Listed:
    """A run's heads as the page lists them: for each layer (name, name within the layer, places of its classes).

    href  its page as an attribute's value without quotes, which 50,000 links can do without
    """

    run: str
    name: str
    place: int
    hue: int
    synthetic: bool
    grid: str
    href: Markup
    layers: tuple[tuple[tuple[str, str, str], ...], ...]


def heads_page(reports: Sequence[Report], every: Sequence[HeadClass], atlas: Atlas | None) -> dict[str, object]:
    """What heads.html shows of the runs that have scores."""
    index = "index.html" if sum(r.scores[0].values.size for r in reports if r.scores) <= MOST_FULL else ""
    runs = [_listed(report, place, every, index) for place, report in enumerate(reports)]
    kept = [run for run in runs if run.layers]
    maps: tuple[HeadMap, ...] = head_maps(reports)
    pairs = [pair for pair in atlas.pairs() if pair.heads] if atlas else []
    names = {report.slug: report.name for report in reports}
    return {
        "runs": kept,
        "count": sum(len(layer) for run in kept for layer in run.layers),
        "synthetic": any(run.synthetic for run in kept),
        "maps": maps,
        "classes": list(enumerate(every)),
        "pairs": [_pair(pair, names) for pair in pairs],
        "weighed": _weights(atlas) if atlas and pairs else [],
        "level": f"{ALPHA:.0%}",
        "most": MOST,
    }


def class_page(one: HeadClass) -> dict[str, object]:
    """What the page of a class shows."""
    rules = dict.fromkeys((member.label, member.kind, member.source, member.rule) for member in one.members)
    ways = any(member.holds for member in one.members)
    return {"c": one, "ways": ways, "rungs": RUNG_NAMES, "rules": [rule for rule in rules if rule[3]]}


def alike_data(atlas: Atlas | None, run: str) -> dict[str, object] | None:
    """What the passports of a run's page say of heads elsewhere: head -> rows; None where nothing was searched."""
    found = atlas.alike(run) if atlas else {}
    if atlas is None or not found:
        return None
    searched = [pair for pair in atlas.pairs() if pair.first == run and pair.heads]
    return {
        "runs": len(searched),
        "names": {pair.second: atlas.prints[pair.second].name for pair in searched},
        "heads": {head: [_row(one) for one in each] for head, each in found.items() if each},
    }


def _row(one: Alike) -> list[object]:
    return [one.run, one.head, one.distance, one.chance, one.draws, one.twin, one.measures]


def _listed(report: Report, place: int, every: Sequence[HeadClass], index: str) -> Listed:
    layers, heads = report.scores[0].values.shape if report.scores else (0, 0)
    held = of_heads(every, report.slug)
    rows = tuple(tuple(_head(held, layer, head) for head in range(heads)) for layer in range(layers))
    grid = f"{layers} × {heads} heads"
    href = Markup("{}/{}").format(report.slug.replace("=", "%3D"), index)
    return Listed(report.slug, report.name, place, min(place, HUES), report.synthetic, grid, href, rows)


def _head(held: Mapping[str, Sequence[int]], layer: int, head: int) -> tuple[str, str, str]:
    name = head_name(layer, head)
    return name, f"H{head}", " ".join(map(str, held.get(name, ())))


def _pair(pair: Pair, names: Mapping[str, str]) -> dict[str, object]:
    """A row of the table of pairs, every number beside what chance gives."""
    same = chance = ""
    if pair.same is not None and pair.low is not None and pair.high is not None and pair.grid is not None:
        share = pair.same / pair.heads
        same = f"{pair.same} = {share:.0%} [{pair.low:.0%}, {pair.high:.0%}]"
        chance = f"{1 / (pair.grid[0] * pair.grid[1]):.1%}; in a given layer {1 / pair.grid[1]:.1%}"
    return {
        "first": pair.first,
        "first_name": names.get(pair.first, pair.first),
        "second": pair.second,
        "second_name": names.get(pair.second, pair.second),
        "measures": pair.measures,
        "draws": pair.draws,
        "heads": pair.heads,
        "partners": pair.partners,
        "near": pair.near,
        "expected": number(pair.expected, 1),
        "same": same,
        "chance": chance,
    }


def _weights(atlas: Atlas) -> list[tuple[str, str, str]]:
    """Suite, measures, weight of each measure: of the run with the most scores."""
    largest = max(atlas.prints.values(), key=lambda one: len(one.keys))
    rows: dict[tuple[str, str], list[str]] = {}
    for suite, measure, tasks, weight in weight_rows(largest):
        rows.setdefault((suite, number(weight, 4)), []).append(f"{measure} ({tasks} tasks)" if tasks > 1 else measure)
    return [(suite, ", ".join(measures), weight) for (suite, weight), measures in rows.items()]

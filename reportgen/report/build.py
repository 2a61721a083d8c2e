"""A run becomes a report: pure data, nothing is written and nothing imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from reportgen import suites as registry
from reportgen.figures.figure import Style, View
from reportgen.manifest import Manifest, SuiteRecord
from reportgen.published import catalogue
from reportgen.report import about
from reportgen.report.draw import Drawing, draw, unique
from reportgen.report.glossary import TERMS
from reportgen.report.leading import general_notes, leading
from reportgen.report.parts import MeasureText, Plate, Report, Section, Source, Verdict
from reportgen.report.text import clean, cleaned
from reportgen.report.twins import is_map, panel_keys, rows, twins
from reportgen.report.verdicts import verdicts
from reportgen.scores import HeadSet, SuiteResult
from reportgen.suites.base import Measure, Suite


class RunLike(Protocol):
    """What a report needs of a run (reportgen.run.Run has it)."""

    @property
    def path(self) -> Path: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def results(self) -> Mapping[str, SuiteResult]: ...
    def overlay_files(self) -> list[Path]: ...


def build(
    run: RunLike,
    style: Style | None = None,
    *,
    suites: Mapping[str, Suite] | None = None,
    overlays: bool = True,
    overlay_files: Sequence[Path] = (),
    published: str = "",
) -> Report:
    """The report of `run` with every figure drawn once.

    suites         suites by name; None = the built-in and installed ones
    overlays       False draws no published and no user's head set; sets computed by the run's suites stay
    overlay_files  more TOML files of head sets, beside those kept in the run
    published      key of a catalogue model whose published heads are drawn, over the run's own

    Raises RunError where a result is damaged. A suite that cannot draw gets its reason into its section.
    """
    style = style or Style()
    known = dict(registry.known() if suites is None else suites)
    results = dict(run.results)
    sets = head_sets(run, results, published, overlay_files) if overlays else computed(results)
    numbered, taken = 0, set[str]()
    sections: list[Section] = []
    lines: list[Verdict] = []
    for name in _ordered(run.manifest.suites, known):
        suite, result = known.get(name), results.get(name)
        section = _section(name, run.manifest.suites[name], suite, result)
        if result is not None:
            drawings, problems = _drawn(run.manifest, suite, result, results, sets, style, taken)
            plates = tuple(_plate(numbered + i + 1, d) for i, d in enumerate(drawings))
            numbered += len(plates)
            section = replace(section, plates=plates, undrawn=tuple(problems))
            lines += verdicts(suite, result, section.anchor)
        sections.append(section)
    return _report(run, known, tuple(sections), tuple(lines), _shown(sections, results))


def _shown(sections: Sequence[Section], results: Mapping[str, SuiteResult]) -> tuple[HeadSet, ...]:
    """The sets that some figure draws, and those computed here, each once."""
    drawn = [s for section in sections for plate in section.plates for s in plate.figure.head_sets]
    return tuple({s.key: s for s in (*drawn, *computed(results))}.values())


def head_sets(
    run: RunLike, results: Mapping[str, SuiteResult], published: str = "", overlay_files: Sequence[Path] = ()
) -> tuple[HeadSet, ...]:
    """Every head set that figures may draw: published for this model, the user's, computed by the run's suites."""
    model = run.manifest.model
    shape = (model.n_layers, model.n_heads)
    sets = catalogue.sets_for(model.hub_id, published or run.manifest.published_as, shape)
    for path in (*run.overlay_files(), *overlay_files):
        sets += catalogue.load_user(path, shape)
    return (*sets, *computed(results))


def computed(results: Mapping[str, SuiteResult]) -> tuple[HeadSet, ...]:
    """The head sets that the run's suites computed on this very model."""
    return tuple(heads for result in results.values() for heads in result.head_sets)


def _ordered(records: Mapping[str, SuiteRecord], known: Mapping[str, Suite]) -> list[str]:
    """Suites of the run in the registry's order, unknown ones last, whatever order they were scored in."""
    order = {name: i for i, name in enumerate(known)}
    return sorted(records, key=lambda name: (order.get(name, len(order)), name))


def _drawn(
    manifest: Manifest,
    suite: Suite | None,
    result: SuiteResult,
    results: Mapping[str, SuiteResult],
    sets: Sequence[HeadSet],
    style: Style,
    taken: set[str],
) -> tuple[list[Drawing], list[str]]:
    if suite is None:
        return [], [f"Figures are not drawn: the suite {clean(result.suite)!r} is not installed here."]
    settings = manifest.suites[result.suite].settings
    synthetic = manifest.synthetic or manifest.model.synthetic
    view = View(manifest.model, settings, sets, results, style, synthetic)
    drawings, problems = draw(suite, result, view, style)
    kept, doubles = unique(drawings, taken)
    return kept, problems + doubles


def _plate(number: int, drawing: Drawing) -> Plate:
    figure = drawing.figure
    return Plate(
        number=number,
        id=figure.id,
        title=clean(figure.title),
        caption=clean(figure.caption),
        alt=clean(figure.alt),
        svg=drawing.svg,
        width=drawing.width,
        height=drawing.height,
        twins=cleaned(twins(figure.data)),
        figure=figure,
        is_map=is_map(figure.data),
        keys=panel_keys(figure.data),
    )


def _section(name: str, record: SuiteRecord, suite: Suite | None, result: SuiteResult | None) -> Section:
    section = Section(
        name=name,
        title=suite.title if suite else name,
        summary=suite.summary if suite else "",
        status=record.status,
        reason=record.error,
        left_out=(),
        measures=_measures(suite),
        settings=about.settings(suite, record),
    )
    if result is not None:
        cited = sorted(set(about.keys(suite, result)))
        section = replace(
            section,
            leading=leading({m.name: m.title for m in suite.measures} if suite else {}, result.scores),
            leading_notes=general_notes(result.scores),
            tables=tuple(rows(table) for table in result.tables),
            notes=tuple(result.notes),
            not_computed=tuple((n.what, n.why) for n in result.not_computed),
            cited=tuple((key, catalogue.short_citation(key)) for key in cited if about.citation(key)),
        )
    return cleaned(section)


def _measures(suite: Suite | None) -> tuple[MeasureText, ...]:
    return tuple(_measure(suite.name, m) for m in suite.measures) if suite else ()


def _measure(suite: str, measure: Measure) -> MeasureText:
    return MeasureText(
        anchor=f"measure-{suite}-{measure.name}",
        suite=suite,
        title=measure.title,
        formula=measure.formula,
        meaning=measure.meaning,
        unit=measure.unit,
        source=about.source(measure.source),
    )


def _report(
    run: RunLike, known: Mapping[str, Suite], sections: tuple[Section, ...], lines: tuple[Verdict, ...], sets: tuple[HeadSet, ...]
) -> Report:
    manifest = run.manifest
    model = manifest.model
    check, passed = about.self_check(model)
    sections = tuple(
        replace(s, left_out=tuple(clean(w) for w in known[s.name].left_out))
        if manifest.preset == "quick" and s.name in known and s.status == "done"
        else s
        for s in sections
    )
    keys = sorted({key for s in sections for key, _ in s.cited} | {s.source for s in sets if s.kind == "published"})
    return Report(
        title=clean(f"Attention heads of {model.name}"),
        model=clean(model.name),
        slug=clean(model.slug),
        created=clean(manifest.created),
        date=clean(manifest.created[:10]),
        synthetic=manifest.synthetic or model.synthetic,
        check=clean(check),
        check_passed=passed,
        facts=cleaned(about.facts(manifest)),
        verdicts=cleaned(tuple(sorted(lines, key=lambda v: not v.causal))),
        sections=sections,
        overlays=sets,
        scores=tuple(score for name in _ordered(manifest.suites, known) if name in run.results for score in run.results[name].scores),
        overlay_grid=cleaned(about.overlay_grid(sets)),
        not_computed=cleaned(_missing(run, known, sections)),
        provenance=cleaned(about.provenance(manifest)),
        glossary=TERMS,
        sources=tuple(Source(key, clean(text), clean(catalogue.bibtex(key))) for key in keys if (text := about.citation(key))),
    )


def _missing(run: RunLike, known: Mapping[str, Suite], sections: Sequence[Section]) -> tuple[tuple[str, str, str], ...]:
    """Everything the run does not have: suites, figures, what the preset and the suites left out."""
    found: list[tuple[str, str, str]] = []
    for section in sections:
        if section.status != "done":
            found.append((section.title, "the whole suite", f"{section.status}: {section.reason}"))
        found += [(section.title, "a figure", why) for why in section.undrawn]
        found += [(section.title, what, why) for what, why in section.not_computed]
        found += [(section.title, what, "left out by the preset quick") for what in section.left_out]
    found += [
        (suite.title, "the whole suite", "not part of this run")
        for name, suite in known.items()
        if name not in run.manifest.suites
    ]
    return tuple(found)


__all__ = ["RunLike", "build", "head_sets"]

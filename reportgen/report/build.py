"""Turns a run into a report: pure data, no files written, no torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from reportgen import published
from reportgen import suites as registry
from reportgen.atlas.drawing import holding
from reportgen.atlas.robustness import Finding, Scored, findings
from reportgen.errors import FigureError, ReportgenError, SettingsError, UnknownFigure, nearest
from reportgen.figures.captions import model_name
from reportgen.figures.export import as_drawn, legible
from reportgen.figures.figure import Figure, KeptDrawing, Maker, View, attempt
from reportgen.figures.heatmap import legend_refused
from reportgen.figures.theme import Style, clean
from reportgen.head_examples import of_run as examples_of
from reportgen.manifest import Manifest
from reportgen.report import about
from reportgen.report.document import NOT_INSTALLED, Framed, Label, MeasureText, Plate, Report, Section, Source, Verdict
from reportgen.report.draw import (
    KEPT_NOTE,
    Drawing,
    Ready,
    Started,
    charted,
    figures_of,
    settled,
    stand_ins,
    started,
    threads,
    unique,
)
from reportgen.report.html import is_map, panel_keys, rows, twins
from reportgen.report.labels import Led, general_notes, leading, leading_labels, score_names
from reportgen.report.passport import salient, snippets
from reportgen.report.text import TERMS, cleaned
from reportgen.report.tiles import framed
from reportgen.report.verdicts import ranked, verdicts
from reportgen.runfolder import own_name
from reportgen.scores import Head, HeadSet, SuiteResult, with_judgements
from reportgen.selftest.record import in_words
from reportgen.suites.base import Measure, Suite

# What drawing a run needs, gathered and cleaned once: suites, results, head sets, style.


class RunLike(Scored, Protocol):
    """What a report needs of a run (implemented by reportgen.runfolder.Run)."""

    def overlay_files(self) -> list[Path]: ...
    def beside(self) -> tuple[Sequence[Scored], Mapping[str, str]]: ...


@dataclass(frozen=True)
class Marks:
    """Which head sets one call draws, where that differs from what the run's last report drew.

    overlays       False draws no published and no user's head set, True does; None = as in the run's last report.
                   Sets computed by the run's suites stay.
    overlay_files  TOML files of head sets, in place of those kept in the run
    published      key of a catalogue model whose published heads are drawn, over the run's own
    sets           head sets of the caller's own, in place of those kept in the run
    """

    overlays: bool | None = None
    overlay_files: Sequence[Path] = ()
    published: str = ""
    sets: Sequence[HeadSet] = ()

    def drawn(self, manifest: Manifest) -> bool:
        """Whether published and user's sets are drawn."""
        if self.overlays is None:
            return bool(self.overlay_files or self.published or self.sets) or not manifest.no_overlay
        return self.overlays


AS_STORED = Marks()


@dataclass(frozen=True)
class ReportScene:
    """A run prepared for drawing. Results and sets are cleaned: the renderer aborts on control characters.

    findings  the sets that were picked by a score, with the other settings under which they hold or not
    unsettled (suite or run, why): whose other settings could not be read or computed
    """

    manifest: Manifest
    suites: Mapping[str, Suite]
    results: Mapping[str, SuiteResult]
    sets: tuple[HeadSet, ...]
    style: Style
    findings: tuple[Finding, ...] = ()
    unsettled: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> list[str]:
        """Suites of the run in the registry's order, unknown ones last, whatever order they were scored in."""
        order = {name: i for i, name in enumerate(self.suites)}
        return sorted(self.manifest.suites, key=lambda name: (order.get(name, len(order)), name))

    @property
    def synthetic(self) -> bool:
        return self.manifest.synthetic or self.manifest.model.synthetic

    def view(self, suite: str) -> View:
        """The data available to the figures of `suite`."""
        settings = cleaned(self.manifest.suites[suite].settings)
        return View(cleaned(self.manifest.model), settings, self.sets, self.results, self.style, self.synthetic)

    def more(self, suite: str) -> tuple[Maker, ...]:
        """The figures of a suite's section that are the same for all suites: in how many ways its sets hold."""
        found = [one for one in self.findings if one.suite == suite]
        return (partial(self._holding, suite, found),) if found else ()

    def _holding(self, suite: str, found: Sequence[Finding]) -> Figure:
        name = clean(model_name(self.view(suite)))
        return holding(found, f"{suite}-holds", suite, name, self.style, synthetic=self.synthetic)


def scene(
    run: RunLike,
    style: Style | None,
    suites: Mapping[str, Suite] | None,
    marks: Marks,
    beside: Sequence[Scored] = (),
) -> ReportScene:
    """The scene of `run`; `suites` None = the known ones. Raises UserError for a damaged run or list of heads.

    beside  other runs that may be of the same model, besides those that the run names
    """
    results = with_judgements(cleaned(dict(run.results)))
    sets = head_sets(run, results, marks) if marks.drawn(run.manifest) else computed(results)
    known = dict(registry.drawable(run.manifest.suites) if suites is None else suites)
    others, missing = run.beside()
    unsettled = [(name, why) for name, why in missing.items()]
    held = findings(run, [*others, *beside], known, lambda name, why: unsettled.append((name, why)))
    known |= stand_ins(run.path, run.manifest, known)
    return ReportScene(
        run.manifest, known, results, cleaned(sets), style or Style(), cleaned(tuple(held)), cleaned(tuple(unsettled))
    )


def head_sets(run: RunLike, results: Mapping[str, SuiteResult], marks: Marks) -> tuple[HeadSet, ...]:
    """Every head set that figures may draw: published for this model, the user's, computed by the run's suites."""
    model = run.manifest.model
    shape = (model.n_layers, model.n_heads)
    sets = published.sets_for(model.hub_id, marks.published or run.manifest.published_as, shape)
    for path in marks.overlay_files or (() if marks.sets else run.overlay_files()):
        sets += published.load_user(path, shape)
    return (*sets, *marks.sets, *computed(results))


def computed(results: Mapping[str, SuiteResult]) -> tuple[HeadSet, ...]:
    """The head sets that the run's suites computed on this model."""
    return tuple(heads for result in results.values() for heads in result.head_sets)


def build(
    run: RunLike,
    style: Style | None = None,
    *,
    suites: Mapping[str, Suite] | None = None,
    marks: Marks = AS_STORED,
    beside: Sequence[Scored] = (),
    ready: Ready | None = None,
) -> Report:
    """The report of `run` with every figure drawn once.

    suites  suites by name; None = the built-in and installed ones
    marks   the head sets drawn, where they are not those that the run says
    beside  other runs that may be of the same model: whether its findings hold there, too
    ready   gets each drawing as soon as it is made, in another thread

    Raises UserError where a result or a list of heads is damaged. A suite that cannot draw gets its reason into its
    section.
    """
    from_run = scene(run, style, suites, marks, beside)
    labels = score_names(from_run.results.values())
    led = leading_labels([scores for result in from_run.results.values() for scores in result.scores])
    with threads(2) as pool:  # the renderer and Typst draw beside Python
        drawn = {name: _started(from_run, name, pool, ready) for name in from_run.names if name in from_run.results}
        return _report(from_run, *_sections(from_run, drawn, labels, led), led)


def _sections(
    from_run: ReportScene, drawn: Mapping[str, list[Started]], labels: Mapping[str, str], led: Mapping[Head, Label]
) -> tuple[tuple[Section, ...], tuple[Verdict, ...], dict[str, Framed]]:
    """Every suite's section, the findings they bear out, and their plates as the page carries them."""
    held = {one.key: one for one in from_run.findings}
    taken = set[str]()
    numbers = itertools.count(1)
    frames: dict[str, Framed] = {}
    sections: list[Section] = []
    lines: list[Verdict] = []
    for name in from_run.names:
        suite, result = from_run.suites.get(name), from_run.results.get(name)
        section = _section(name, from_run.manifest, suite, result, Led(led, labels))
        if result is not None:
            names = {clean(from_run.manifest.model.name), clean(model_name(from_run.view(name)))}
            for drawing in unique(settled(drawn[name]), taken):
                framed_ = _placed(from_run, drawing, numbers, labels, names)
                section = _with(section, framed_ if isinstance(framed_, str) else framed_[0])
                frames |= {} if isinstance(framed_, str) else {framed_[0].id: framed_[1]}
            lines += verdicts(suite, result, section.anchor, section.plates, held)
            if any(isinstance(figure.chart, KeptDrawing) for figure in section.figures):
                section = replace(section, notes=(KEPT_NOTE, *section.notes))
        sections.append(section)
    return tuple(sections), tuple(lines), frames


def _with(section: Section, plate: Plate | str) -> Section:
    """The section with one more plate, or with the reason why there is none."""
    if isinstance(plate, Plate):
        return replace(section, plates=(*section.plates, plate))
    before = (*section.before, len(section.plates))
    return replace(section, undrawn=(*section.undrawn, plate), before=before)


def without(report: Report, failed: Mapping[str, str]) -> Report:
    """The report without these plates (id -> why), the reasons in their places."""
    sections = []
    for section in report.sections:
        kept = replace(section, plates=(), undrawn=(), before=())
        for at in range(len(section.plates) + 1):
            for why in section.undrawn_at(at):
                kept = _with(kept, why)
            for plate in section.plates[at : at + 1]:
                kept = _with(kept, failed.get(plate.id, plate))
        sections.append(kept)
    lost = [(s.title, "a figure", why) for s in sections for why in s.undrawn if why in failed.values()]
    return replace(report, sections=tuple(sections), not_computed=(*report.not_computed, *cleaned(tuple(lost))))


def all_figures(run: RunLike, style: Style | None = None, marks: Marks = AS_STORED) -> list[Figure]:
    """Every figure of `run` as the report has them, not drawn. Suites that cannot draw have none."""
    from_run = scene(run, style, None, marks)
    known: dict[str, Figure] = {}
    for name in from_run.names:
        suite, result = from_run.suites.get(name), from_run.results.get(name)
        if suite is not None and result is not None:
            found, _ = figures_of(suite, result, from_run.view(name), from_run.more(name))
            known |= {figure.id: figure for figure in found if figure.id not in known}
    return list(known.values())


def find_figure(run: RunLike, figure_id: str, style: Style | None = None, marks: Marks = AS_STORED) -> Figure:
    """One figure of `run`, as its suite draws it. SettingsError names the figures there are; FigureError: it failed."""
    from_run = scene(run, style, None, marks)
    known: dict[str, str] = {}
    problems: list[str] = []
    for name in sorted(from_run.names, key=lambda name: not figure_id.startswith(name)):  # most likely there
        suite, result = from_run.suites.get(name), from_run.results.get(name)
        if suite is not None and result is not None:
            found, failed = figures_of(suite, result, from_run.view(name), from_run.more(name))
            for figure in found:
                if figure.id == figure_id:
                    return charted(figure)
            problems += failed if figure_id.startswith(name) else []
            known |= {figure.id: figure.title for figure in found}
    raise missing_figure(run.path, figure_id, known, problems)


def missing_figure(run: Path, figure_id: str, known: Mapping[str, str], problems: Sequence[str]) -> ReportgenError:
    """Why a figure is not among `known`, titles by id: UnknownFigure, or FigureError where it may have failed."""
    if problems:
        return FigureError(f"{run}: no figure {figure_id!r} was drawn. {' '.join(problems)}")
    return UnknownFigure(f"{run} has no figure {figure_id!r}.", nearest(figure_id, known), known)


def printed_figure(run: RunLike, figure_id: str, style: Style, marks: Marks = AS_STORED) -> tuple[Figure, Style]:
    """One figure of `run` for print: at `style.width_in`, its text enlarged where it would be below 6 pt.

    Returns the figure and the style to write it with. Raises SettingsError: no such figure, no room for the text, a
    legend that can't stand inside as asked, or a style or head sets for a figure that the run keeps as it was drawn.
    """
    figure, style = legible(lambda tried: find_figure(run, figure_id, tried, marks), style)
    if isinstance(figure.chart, KeptDrawing) and (style != Style() or marks != AS_STORED):
        raise as_drawn(figure)
    if why := legend_refused(figure.chart):
        raise SettingsError(f"{figure_id}: the legend can't be inside: {why}.", "Leave it outside.")
    return figure, style


def _started(from_run: ReportScene, name: str, pool: Executor, ready: Ready | None) -> list[Started]:
    """The figures of one suite, being drawn; why there are none."""
    suite, result = from_run.suites.get(name), from_run.results[name]
    if suite is None:
        return [f"{NOT_INSTALLED} no suite {result.suite!r} is installed. Give its file: --suite FILE.py."]
    return started(pool, suite, result, from_run.view(name), from_run.style, from_run.more(name), ready)


def _placed(
    from_run: ReportScene, drawing: Drawing | str, numbers: Iterator[int], labels: Mapping[str, str], models: Set[str]
) -> tuple[Plate, Framed] | str:
    """The drawing as a plate and as the page carries it; why not, where its numbers do not bear it."""
    if isinstance(drawing, str):
        return drawing
    plate, problem = attempt(lambda: _plate(next(numbers), drawing, labels, models))
    if plate is None:
        return f"Figure {clean(drawing.figure.id)} could not be drawn: {problem}"
    frame, problem = attempt(lambda: _framed(plate, from_run.results.values()))
    return f"Figure {plate.id} could not be drawn: {problem}" if frame is None else (plate, frame)


def _plate(number: int, drawing: Drawing, labels: Mapping[str, str], models: Set[str]) -> Plate:
    """A numbered plate; its title omits the model's name, which the report is about."""
    figure = drawing.figure
    title = _without(clean(figure.title), models)
    return Plate(
        number=number,
        id=figure.id,
        title=title,
        caption=clean(figure.caption),
        notes=cleaned(figure.notes),
        alt=clean(figure.alt),
        svg=drawing.svg,
        width=drawing.width,
        height=drawing.height,
        twins=tuple(replace(twin, title=_without(twin.title, models)) for twin in cleaned(twins(figure.data, labels))),
        figure=figure,
        spec=drawing.spec,
        is_map=is_map(figure.data),
        keys=panel_keys(figure.data),
    )


def _without(title: str, models: Set[str]) -> str:
    """`title` without `GPT-2: ` before it, its first letter a capital."""
    for name in models:
        title = title.removeprefix(f"{name}: ")
    return title[:1].upper() + title[1:]


def _section(name: str, manifest: Manifest, suite: Suite | None, result: SuiteResult | None, led: Led) -> Section:
    record = manifest.scored()[name]
    is_cut = record.preset == "quick" and suite is not None and record.status == "done"
    section = Section(
        name=name,
        title=suite.title if suite else name,
        summary=suite.summary if suite else "",
        status=record.status,
        reason=record.error,
        left_out=suite.left_out if suite and is_cut else (),
        measures=_measures(suite),
        settings=about.settings(suite, record),
    )
    if result is not None:
        cited = sorted(set(about.keys(suite, result)))
        section = replace(
            section,
            leading=leading({m.name: m.title for m in suite.measures} if suite else {}, result.scores, led),
            leading_notes=general_notes(result.scores),
            tables=tuple(rows(table) for table in result.tables),
            notes=tuple(
                note
                for note in (about.other_file(suite, record), *result.notes, about.rests_on_half(record, suite, result))
                if note
            ),
            not_computed=tuple((n.what, n.why) for n in result.not_computed),
            cited=tuple((key, published.short_citation(key)) for key in cited if about.citation(key)),
        )
    return cleaned(section)


def _measures(suite: Suite | None) -> tuple[MeasureText, ...]:
    return tuple(_measure(suite.name, m) for m in suite.measures) if suite else ()


def _measure(suite: str, measure: Measure) -> MeasureText:
    return MeasureText(
        anchor=f"measure-{suite}-{measure.name}",
        suite=suite,
        name=measure.name,
        title=measure.title,
        formula=measure.formula,
        meaning=measure.meaning,
        unit=measure.unit,
        source=about.source(measure.source),
    )


def _report(
    from_run: ReportScene,
    sections: tuple[Section, ...],
    lines: tuple[Verdict, ...],
    frames: Mapping[str, Framed],
    led: Mapping[Head, Label],
) -> Report:
    manifest = from_run.manifest
    model = manifest.model
    name = model_name(View(model))
    named = f"{name} ({own})" if (own := own_name(model)) else name
    check, passed = about.self_check(model)
    tested = manifest.self_test
    shown = _shown(sections, from_run.results)
    shows = examples_of(from_run.results)
    results = [from_run.results[s.name] for s in sections if s.name in from_run.results]
    keys = sorted({key for s in sections for key, _ in s.cited} | {s.source for s in shown if s.kind == "published"})
    sources = cleaned(tuple(Source(k, text, published.bibtex(k)) for k in keys if (text := about.citation(k))))
    return Report(
        title=clean(f"Attention heads of {named}"),
        model=clean(name),
        name=clean(named),
        slug=clean(model.slug),
        created=clean(manifest.created),
        date=clean(manifest.created[:10]),
        synthetic=from_run.synthetic,
        check=clean(check),
        check_passed=passed,
        broken=clean(in_words(tested)) if tested is not None and tested.failed else "",
        facts=cleaned(about.facts(manifest) + about.half_precision(_in_half(from_run, sections))),
        banner=cleaned(about.banner(results)),
        verdicts=cleaned(tuple(ranked(lines))),
        sections=sections,
        overlays=shown,
        scores=tuple(score for result in results for score in result.scores),
        names=cleaned(score_names(results)),
        labels=led,
        frames=frames,
        salient=next((found for r in results if (found := salient(r)) is not None), None),
        snippets=next((texts for r in results if (texts := snippets(r)) is not None), None) if shows is None else None,
        examples=shows,
        set_groups=cleaned(about.set_groups(shown, {one.key: one.words() for one in from_run.findings})),
        not_computed=cleaned(_missing(from_run, sections)),
        provenance=cleaned(about.provenance(manifest)),
        glossary=TERMS,
        sources=sources,
        bibtex="\n\n".join([about.tool_bibtex(), *(source.bibtex.strip() for source in sources)]) + "\n",
    )


def _in_half(from_run: ReportScene, sections: Sequence[Section]) -> dict[str, str]:
    """Title -> dtype of the sections with scores from activations in half precision."""
    records = from_run.manifest.scored()
    return {
        s.title: records[s.name].dtype
        for s in sections
        if s.name in from_run.results
        and about.rests_on_half(records[s.name], from_run.suites.get(s.name), from_run.results[s.name])
    }


def _framed(plate: Plate, results: Iterable[SuiteResult]) -> Framed:
    scores = {score.key: score for result in results for score in result.scores}
    return framed(plate.svg, plate.id, plate.figure.panels, scores)


def _shown(sections: Sequence[Section], results: Mapping[str, SuiteResult]) -> tuple[HeadSet, ...]:
    """The sets that some figure draws, and those computed here, each once."""
    drawn = [s for section in sections for plate in section.plates for s in plate.figure.head_sets]
    return tuple({s.key: s for s in (*drawn, *computed(results))}.values())


def _missing(from_run: ReportScene, sections: Sequence[Section]) -> tuple[tuple[str, str, str], ...]:
    """Everything missing from the run: suites, figures, what the preset and the suites left out."""
    found: list[tuple[str, str, str]] = []
    for section in sections:
        if section.status != "done":
            found.append((section.title, "the whole suite", f"{section.status}: {section.reason}"))
        found += [(section.title, "a figure", why) for why in section.undrawn]
        found += [(section.title, what, why) for what, why in section.not_computed]
        found += [(section.title, what, "left out by the preset quick") for what in section.left_out]
    found += [(name, "other settings of its findings", why) for name, why in from_run.unsettled]
    absent = [suite for name, suite in from_run.suites.items() if name not in from_run.manifest.suites]
    return (*found, *((suite.title, "the whole suite", "not part of this run") for suite in absent))

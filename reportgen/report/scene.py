"""What drawing a run needs, gathered and cleaned once: suites, results, head sets, style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reportgen import suites as registry
from reportgen.figures.figure import Style, View
from reportgen.manifest import Manifest
from reportgen.published import catalogue
from reportgen.report import kept
from reportgen.report.text import cleaned
from reportgen.scores import HeadSet, SuiteResult
from reportgen.suites.base import Suite


class RunLike(Protocol):
    """What a report needs of a run (reportgen.run.Run has it)."""

    @property
    def path(self) -> Path: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def results(self) -> Mapping[str, SuiteResult]: ...
    def overlay_files(self) -> list[Path]: ...


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
class Scene:
    """A run made ready to draw. Results and sets are cleaned: the renderer aborts the program on control characters."""

    manifest: Manifest
    suites: Mapping[str, Suite]
    results: Mapping[str, SuiteResult]
    sets: tuple[HeadSet, ...]
    style: Style

    @property
    def names(self) -> list[str]:
        """Suites of the run in the registry's order, unknown ones last, whatever order they were scored in."""
        order = {name: i for i, name in enumerate(self.suites)}
        return sorted(self.manifest.suites, key=lambda name: (order.get(name, len(order)), name))

    @property
    def synthetic(self) -> bool:
        return self.manifest.synthetic or self.manifest.model.synthetic

    def view(self, suite: str) -> View:
        """What the figures of `suite` may look at."""
        settings = cleaned(self.manifest.suites[suite].settings)
        return View(cleaned(self.manifest.model), settings, self.sets, self.results, self.style, self.synthetic)


def scene(run: RunLike, style: Style | None, suites: Mapping[str, Suite] | None, marks: Marks) -> Scene:
    """The scene of `run`; `suites` None = the known ones. Raises UserError for a damaged run or list of heads."""
    results = cleaned(dict(run.results))
    sets = head_sets(run, results, marks) if marks.drawn(run.manifest) else computed(results)
    known = dict(registry.drawable(run.manifest.suites) if suites is None else suites)
    known |= kept.stand_ins(run.path, run.manifest, known)
    return Scene(run.manifest, known, results, cleaned(sets), style or Style())


def head_sets(run: RunLike, results: Mapping[str, SuiteResult], marks: Marks) -> tuple[HeadSet, ...]:
    """Every head set that figures may draw: published for this model, the user's, computed by the run's suites."""
    model = run.manifest.model
    shape = (model.n_layers, model.n_heads)
    sets = catalogue.sets_for(model.hub_id, marks.published or run.manifest.published_as, shape)
    for path in marks.overlay_files or (() if marks.sets else run.overlay_files()):
        sets += catalogue.load_user(path, shape)
    return (*sets, *marks.sets, *computed(results))


def computed(results: Mapping[str, SuiteResult]) -> tuple[HeadSet, ...]:
    """The head sets that the run's suites computed on this very model."""
    return tuple(heads for result in results.values() for heads in result.head_sets)

"""Models and revisions as members: where each is found, its run folder's name, its training step.

A folder that holds checkpoint folders is a model whose revisions they are. Of a hub model, revisions are branches, tags
or commits: all of its names are asked for once, so that a misspelt one is told before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from reportgen.errors import ModelError, SettingsError, nearest
from reportgen.reading import expanded, is_file, is_folder
from reportgen.runfolder import slug_of
from reportgen.sweep.spec import ModelSpec, SweepSpec

_COMMIT = re.compile(r"[0-9a-f]{40}")
_STEP = re.compile(r"(?:step|steps|checkpoint|ckpt|iter|iteration)[-_=]?(\d{1,12})(?!\d)", re.IGNORECASE)
_DIGITS = re.compile(r"\d{1,12}")


@dataclass(frozen=True)
class Member:
    """One (model, revision).

    slug      name of its run folder
    model     what the loader gets: a bundled name, a hub id, or a folder's absolute path
    revision  hub commit (or the name as typed where the hub can't be asked); empty for folders
    label     the model in words;  name  the revision as typed;  step  its training step, where it is known
    folder    of the checkpoint, on this machine; None for hub models
    """

    slug: str
    model: str
    revision: str
    label: str
    name: str
    step: int | None
    folder: Path | None = None

    @property
    def title(self) -> str:
        return f"{self.label} @ {self.name}" if self.name else self.label


Commits = Mapping[tuple[str, str], str]  # (model, revision as typed) -> commit


def members(spec: SweepSpec, earlier: Commits = MappingProxyType({})) -> list[Member]:
    """Every member of a sweep, models in the order given, steps ascending. ModelError: an unknown model or revision.

    earlier  commits that this sweep had before: they stand in where the hub can't be asked
    """
    found = [member for model in spec.models for member in _of_model(model, earlier, offline=spec.options.offline)]
    slugs = [member.slug.lower() for member in found]  # file names may ignore case
    doubles = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    if doubles:
        raise SettingsError(f"Two members of the sweep would be {doubles[0]!r}.", "Give their models different labels.")
    return found


def step_of(name: str) -> int | None:
    """The training step that a revision's name says: `step1000`, `checkpoint-500`, `1000`; None where it says none."""
    match = _STEP.search(name)
    if match:
        return int(match[1])
    return int(name) if _DIGITS.fullmatch(name) else None


def _of_model(model: ModelSpec, earlier: Commits, *, offline: bool) -> list[Member]:
    named = [_named(text) for text in model.revisions]
    folder = expanded(model.model)
    if is_folder(folder):
        return _of_folder(folder.absolute(), model, named)
    if is_file(folder):
        label = model.label or folder.stem
        return [Member(slug_of(label), str(folder.absolute()), "", label, "", step_of(folder.stem), folder.absolute())]
    if model.model.startswith(("/", ".", "~")):
        raise ModelError(f"There is no folder {model.model!r}.", "Give a folder of checkpoint folders, or a hub id.")
    label = model.label or model.model
    if model.model == "mini":
        if named:
            raise ModelError(f"The bundled model has no revision {named[0][0]!r}.", "Train it: reportgen mini train")
        return [Member(slug_of(label), model.model, "", label, "", None)]
    if not named:
        return [Member(slug_of(label), model.model, "", label, "", None)]
    commits = _commits(model.model, [name for name, _ in named], offline=offline)
    return _sorted(
        Member(slug_of(label, name), model.model, _commit(commits, earlier, model.model, name), label, name, step)
        for name, step in named
    )


def _named(text: str) -> tuple[str, int | None]:
    """`NAME=STEP`, or a name that says its step."""
    name, equals, step = text.rpartition("=")
    if equals and name and _DIGITS.fullmatch(step):
        return name, int(step)
    return text, step_of(text)


def _of_folder(folder: Path, model: ModelSpec, named: list[tuple[str, int | None]]) -> list[Member]:
    label = model.label or folder.resolve().name
    inside = {path.name: path for path in folder.iterdir() if is_file(path / "config.json")}
    inside |= {path.name: path for path in folder.glob("*.gguf") if is_file(path)}
    if not named and is_file(folder / "config.json"):
        steps = [name for name in inside if step_of(name) is not None]  # a trainer's output: the end, and checkpoints
        own = Member(slug_of(label), str(folder), "", label, "", step_of(folder.name), folder)
        return _sorted([*(_inside(label, name, inside) for name in steps), own])
    if not inside:
        raise ModelError(f"{folder} holds no checkpoint folder.", "Give a folder whose folders have a config.json.")
    unknown = [name for name, _ in named if name not in inside]
    if unknown:
        raise ModelError(f"{folder} has no checkpoint {unknown[0]!r}.", nearest(unknown[0], inside))
    wanted = named or [(name, step_of(name)) for name in inside if not name.startswith(".")]
    return _sorted(replace(_inside(label, name, inside), step=step) for name, step in wanted)


def _inside(label: str, name: str, inside: Mapping[str, Path]) -> Member:
    """The member that a checkpoint in a folder is."""
    return Member(slug_of(label, name), str(inside[name]), "", label, name, step_of(name), inside[name])


def _sorted(found: Iterable[Member]) -> list[Member]:
    """Steps ascending, members without one last, by name."""
    return sorted(found, key=lambda m: (m.step is None, m.step or 0, m.name))


def _commit(commits: Mapping[str, str], earlier: Commits, model: str, name: str) -> str:
    """What the hub says, or said to the sweep before; the name itself where neither knows it."""
    return commits.get(name) or earlier.get((model, name)) or name


def _commits(model: str, names: list[str], *, offline: bool) -> Mapping[str, str]:
    """Name -> commit of a hub model's revisions; ModelError names the first unknown one and what is near."""
    from reportgen.models import hub

    known = hub.revisions(model, offline=offline)
    unknown = [name for name in names if known and name not in known and not _COMMIT.fullmatch(name)]
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise ModelError(f"{model} has no revision {unknown[0]!r}{more}.", nearest(unknown[0], known))
    return known

"""A stored sweep: sweep.json and the run folders beside it. Nothing here imports torch.

sweep.json    what was swept and how each member ended; written by the driver alone, after every member
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from reportgen import __version__
from reportgen.errors import RunError
from reportgen.files import write_atomic
from reportgen.reading import is_file, there
from reportgen.runfolder import MANIFEST, Run, is_slug, read_versioned

SCHEMA_VERSION = 1
RECORD = "sweep.json"


Step = Annotated[int, msgspec.Meta(ge=0, lt=10**12)]


class MemberRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One (model, revision) and how it ended."""

    slug: str  # run folder beside sweep.json
    model: str
    revision: str  # hub commit; empty for folders
    label: str  # the model in words
    name: str  # the revision as typed
    step: Step | None = None  # training step
    status: Literal["waiting", "done", "failed"] = "waiting"
    error: str = ""  # reason of a failure, one line
    elapsed_s: float = 0.0  # of the attempt that ended it, 0 where it was kept
    kept: bool = False  # finished by an earlier sweep

    @property
    def title(self) -> str:
        """`pythia-70m @ step1000`."""
        return f"{self.label} @ {self.name}" if self.name else self.label


class SweepRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The whole of sweep.json."""

    schema_version: int
    name: str
    created: str  # ISO 8601, UTC
    updated: str
    argv: list[str]
    engine: str  # "local" | "ray", with its settings in words
    suites: list[str]
    members: list[MemberRecord]
    elapsed_s: float = 0.0  # wall time of the last sweep
    version: str = ""


@dataclass(frozen=True)
class Sweep:
    """A sweep folder, read."""

    path: Path
    record: SweepRecord

    @classmethod
    def open(cls, path: Path | str) -> Sweep:
        """The sweep at `path`; RunError in one line when there is none, it is damaged or of a newer reportgen."""
        path = Path(path)
        file = path / RECORD
        again = "Type the same 'reportgen sweep' again."
        if not there(file):
            raise RunError(f"{path} is not a sweep (no {RECORD}).", "Make one with 'reportgen sweep'.")
        record = read_versioned(file, SweepRecord, SCHEMA_VERSION, again)
        names = [record.name, *(member.slug for member in record.members)]
        for name in names:
            if not is_slug(name):
                raise RunError(f"{file} names a folder {name!r} that is not a plain name.", again)
        if doubles := sorted(name for name, count in Counter(names[1:]).items() if count > 1):
            raise RunError(f"{file} has the member {doubles[0]!r} twice.", again)
        return cls(path, record)

    def runs(self) -> list[tuple[MemberRecord, Run]]:
        """Members with a run folder, in order; those that never got one are left out."""
        found = [(m, self.path / m.slug) for m in self.record.members]
        return [(member, Run.open(path)) for member, path in found if is_file(path / MANIFEST)]

    def failed(self) -> list[MemberRecord]:
        """Members that could not be scored, or a suite of which failed."""
        return [member for member in self.record.members if member.status == "failed"]


def is_sweep(path: Path) -> bool:
    """Whether the folder is a sweep's."""
    return is_file(path / RECORD)


def save(path: Path, record: SweepRecord, members: Sequence[MemberRecord], elapsed_s: float) -> SweepRecord:
    """Write sweep.json with these members; returns what was written."""
    new = msgspec.structs.replace(
        record, members=list(members), updated=now(), elapsed_s=round(elapsed_s, 3), version=__version__
    )
    write_atomic(path / RECORD, msgspec.json.format(msgspec.json.encode(new), indent=1) + b"\n")
    return new


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")

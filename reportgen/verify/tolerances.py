"""Which tolerance holds between two scorings, by what differs in how they were made. The numbers: tolerances.toml."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from reportgen.compare.moved import Moved, SuiteApart
from reportgen.files import convert, parse_toml
from reportgen.manifest import SuiteRecord

CERTAIN = 0.01  # a share that no rounding explains: beyond it two runs differ, whatever was measured
# Packages whose numerics enter scores; the others only draw.
NUMERIC = ("torch", "transformers", "transformer-lens", "numpy", "safetensors")


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Largest differences, as shares of a score's largest absolute value; `rest` of a table's column, or an array's;
    of p as they are."""

    values: float
    intervals: float
    p: float
    rest: float

    def or_larger(self, other: Limits) -> Limits:
        """The larger of each."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__struct_fields__)
        return Limits(*(max(pair) for pair in pairs))

    @property
    def largest(self) -> float:
        return max(self.values, self.intervals)


class Torch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What two versions of torch from `oldest` to `newest` may differ by, in the suites measured."""

    oldest: str
    newest: str
    suites: tuple[str, ...]
    limits: Limits

    def holds(self, suite: str, *versions: str) -> bool:
        """Whether this was measured for `suite`, and all of these versions are in its range."""
        return suite in self.suites and all(
            _number(self.oldest) <= _number(version) <= _number(self.newest) for version in versions
        )


def _number(version: str) -> tuple[int, ...]:
    """(2, 13) of "2.13.0+cpu"; () where there is no such number, which is below all."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return tuple(int(part) for part in found.groups()) if found else ()


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """tolerances.toml: `same` for equal conditions, `code` for other sources of reportgen, `torch` for other versions,
    `threads` by suite."""

    same: Limits
    code: Limits
    torch: Torch
    threads: dict[str, Limits]


@cache
def measured() -> Measured:
    """The table, read once."""
    text = files("reportgen.verify").joinpath("tolerances.toml").read_text("utf-8")
    return convert(parse_toml(text, "tolerances.toml"), Measured, "tolerances.toml")


@dataclass(frozen=True)
class Tolerance:
    """What two scorings may differ by.

    limits    the largest shares
    why       what they hold for: "the same code, packages, device, dtype and threads"
    measured  False: nothing was measured for such a pair. Within `limits` it is reproduced all the same, as a pair that
              differs in less is held to them; beyond them, up to CERTAIN, nothing can be said
    """

    limits: Limits
    why: str
    measured: bool = True


def tolerance(suite: str, stored: SuiteRecord, now: SuiteRecord, *, same_code: bool) -> Tolerance:
    """The tolerance between two scorings of `suite` by their records: device, dtype, threads, versions.

    same_code  both were scored by the same sources of reportgen
    """
    found = measured()
    limits, why = found.same, []
    if not same_code:
        limits = limits.or_larger(found.code)
        why.append("other sources of reportgen, or a run of several commands")
    versions = [record.versions.get("torch", "") for record in (stored, now)]
    known = versions[0] != versions[1] and found.torch.holds(suite, *versions)
    if known:
        limits = limits.or_larger(found.torch.limits)
        why.append(f"torch {versions[0]} stored, {versions[1]} now")
    differ = _unmeasured(stored, now, [name for name in NUMERIC if not (known and name == "torch")])
    if stored.threads != now.threads:
        threads = f"{stored.threads} threads stored, {now.threads} now"
        limits = limits.or_larger(found.threads.get(suite, found.code))
        (why if suite in found.threads else differ).append(threads)
    if differ:
        return Tolerance(limits.or_larger(found.code), f"none was measured for {', '.join(differ)}", measured=False)
    return Tolerance(limits, "; ".join(why) or "the same code, packages, device, dtype and threads")


def _unmeasured(stored: SuiteRecord, now: SuiteRecord, packages: Sequence[str]) -> list[str]:
    """What differs between two scorings that docs/repeatability.md has no measurement of, in words."""
    found = [f"{name} {getattr(stored, name)} stored, {getattr(now, name)} now" for name in ("device", "dtype")
             if getattr(stored, name) != getattr(now, name)]  # fmt: skip
    for name in packages:
        before, after = (record.versions.get(name, "") for record in (stored, now))
        if before != after:
            found.append(f"{name} {before or 'unknown'} stored, {after or 'unknown'} now")
    return [re.sub(r"\s+", " ", words) for words in found]


def beyond(found: SuiteApart, limits: Limits) -> list[Moved]:
    """What is further apart than `limits`, furthest first within scores, then sets and the rest."""
    over: list[Moved] = []
    for score in sorted(found.scores, key=lambda s: -max(s.values, s.ends, s.p)):
        over += [moved for moved in score.moved if moved.share > limits.values]
        over += [m for m in score.others if m.share > (limits.p if m.what == "p" else limits.intervals)]
    return [*over, *found.labels, *(moved for moved in found.rest if moved.share > limits.rest)]

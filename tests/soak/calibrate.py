"""Do p-values and intervals keep what they promise? Random twins through the suites' own code, counted.

python -m tests.soak.calibrate                       # 200 twins, every suite; prints two tables
python -m tests.soak.calibrate --twins 20 --only relations
python -m tests.soak.calibrate --to docs/calibration.md
python -m tests.soak.calibrate --first 200 --best    # intervals alone, on twins that nothing was chosen on
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, ksone

from reportgen.models.model import Model
from tests.soak import coverage, nulls, twins

ALPHA, LEVEL = 0.05, 0.95
LEAST_EVERY = 0.92  # share of all heads whose own interval must hold the truth
SURE = 0.01  # chance that a bound is overstepped by a test that is exactly nominal
REAL = ", repeated"  # ends the names of claims that are true of random heads, too: shown, and no null
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


@dataclass(frozen=True)
class Nominal:
    """One family of tests over all twins: how often its smallest adjusted p was at most ALPHA.

    above  largest amount by which the share of smallest p-values up to any x exceeds x (one-sided Kolmogorov-Smirnov)
    """

    name: str
    twins: int
    tests: int
    false: int
    above: float

    @property
    def most_false(self) -> int:
        return int(binom.isf(SURE, self.twins, ALPHA))

    @property
    def most_above(self) -> float:
        return float(ksone.isf(SURE, self.twins))

    @property
    def holds(self) -> bool:
        return self.name.endswith(REAL) or (self.false <= self.most_false and self.above <= self.most_above)


@dataclass(frozen=True)
class Held:
    """One estimate over all twins: how often its interval held the truth.

    every  share of all heads of all twins whose own interval, of all the data, held theirs
    """

    name: str
    twins: int
    covered: int
    face_value: int
    every: float

    @property
    def least(self) -> int:
        return int(binom.ppf(SURE, self.twins, LEVEL))

    @property
    def holds(self) -> bool:
        return self.covered >= self.least and self.every >= LEAST_EVERY


def nominal(name: str, found: Sequence[npt.NDArray[np.floating[Any]]]) -> Nominal:
    """From one family's adjusted p-values of every twin."""
    smallest = np.sort([float(np.nanmin(p)) for p in found])
    shares = np.arange(1, len(smallest) + 1) / len(smallest)
    tests = max(int(np.isfinite(p).sum()) for p in found)
    return Nominal(
        name, len(smallest), tests, int((smallest <= ALPHA + 1e-9).sum()), float(max(0.0, (shares - smallest).max()))
    )


def held(name: str, found: Sequence[coverage.Covered]) -> Held:
    """From one estimate's outcome on every twin."""
    every = float(np.mean([one.every for one in found]))
    return Held(name, len(found), sum(one.held_out for one in found), sum(one.face_value for one in found), every)


def over_twins(
    measure: Callable[[Model, int, Path], Mapping[str, Any]], count: int, first: int = 0
) -> dict[str, list[Any]]:
    """What `measure` finds on each of `count` twins from seed `first` on, by name."""
    found: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory(prefix="reportgen-soak-") as folder:
        base = twins.base(Path(folder))
        for seed, twin in twins.twins(base, count, first):
            place = Path(folder) / str(seed)
            place.mkdir()
            for name, value in measure(twin, seed, place).items():
                found.setdefault(name, []).append(value)
            print(f"\r{measure.__name__}: twin {seed - first + 1} of {count}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return found


def all_nominal(count: int, only: Sequence[str] = (), first: int = 0) -> list[Nominal]:
    """Every suite's nulls on `count` twins from seed `first` on."""
    chosen = [measure for name, measure in nulls.NULLS.items() if not only or name in only]
    return [nominal(name, found) for measure in chosen for name, found in over_twins(measure, count, first).items()]


def all_held(count: int, only: Sequence[str] = (), first: int = 0) -> list[Held]:
    """Every suite's best head on `count` twins from seed `first` on."""
    chosen = [measure for name, measure in coverage.COVERAGE.items() if not only or name in only]
    return [held(name, found) for measure in chosen for name, found in over_twins(measure, count, first).items()]


def tables(of_nulls: Sequence[Nominal], of_heads: Sequence[Held]) -> str:
    """Both as Markdown."""
    lines = [
        f"| null | tests in the family | twins with a p <= {ALPHA} | at most | share of p <= x above x by | at most |",
        "|---|---|---|---|---|---|",
    ]
    for n in of_nulls:
        share = f"{n.false} of {n.twins} ({n.false / n.twins:.1%})"
        name = n.name if n.holds else f"**{n.name}**"
        name += " (no null: see above)" if n.name.endswith(REAL) else ""
        lines.append(f"| {name} | {n.tests} | {share} | {n.most_false} | {n.above:.3f} | {n.most_above:.3f} |")
    lines += [
        "",
        "| best head | interval holds the truth | at least | at face value | of all heads |",
        "|---|---|---|---|---|",
    ]
    for h in of_heads:
        face = f"{h.face_value} ({h.face_value / h.twins:.1%})"
        share = f"{h.covered} of {h.twins} ({h.covered / h.twins:.1%})"
        lines.append(f"| {h.name if h.holds else f'**{h.name}**'} | {share} | {h.least} | {face} | {h.every:.1%} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables, or put them into a page between its marks; exit 1 where a bound is overstepped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--twins", type=int, default=200)
    parser.add_argument("--only", action="append", default=[], choices=list(nulls.NULLS))
    parser.add_argument("--first", type=int, default=0, help="seed of the first twin")
    parser.add_argument("--best", action="store_true", help="leave the nulls out")
    parser.add_argument("--to", type=Path)
    said = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    of_nulls = [] if said.best else all_nominal(said.twins, said.only, said.first)
    of_heads = all_held(said.twins, said.only, said.first)
    text = tables(of_nulls, of_heads)
    if said.to is None:
        print(text)
    else:
        before, _, rest = said.to.read_text("utf-8").partition(BEGIN)
        said.to.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")
    sys.exit(0 if all(one.holds for one in (*of_nulls, *of_heads)) else 1)


if __name__ == "__main__":
    main()

"""What was done differently in the runs compared: settings, seeds, data. A difference of scores may come from these."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from reportgen.manifest import SuiteRecord
from reportgen.report.about import by_suite
from reportgen.report.text import plural, value_words
from reportgen.runfolder import Run
from reportgen.scores import SuiteResult

EXAMPLES = ("pair", "prompt", "example", "question", "sequence", "text", "document")  # dimensions that name data
TITLE = "Data and settings that differ"  # of the table that holds every row
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Row:
    """One thing that differs: what, and its value in each run. of_examples: it is the examples scored."""

    what: str
    values: tuple[str, ...]
    of_examples: bool = False

    def words(self, names: Sequence[str]) -> str:
        """`relations.tau: 0.15 in mini; 0.2 in mini-b`."""
        return f"{self.what}: " + "; ".join(
            f"{value} in {name}" for name, value in zip(names, self.values, strict=True)
        )


def differences(runs: Sequence[Run], compared: Sequence[str]) -> list[Row]:
    """Everything but a suite's own that could make scores of the suites `compared` differ although models do not."""

    def each(words: Callable[[SuiteRecord], str]) -> list[str]:
        of = [{name: run.manifest.suites[name] for name in compared} for run in runs]
        return [
            by_suite(msgspec.structs.replace(r.manifest, suites=some), words) for r, some in zip(runs, of, strict=True)
        ]

    rows = [
        _row("seed", each(lambda record: str(record.seed))),
        _row("preset", each(lambda record: record.preset)),
        _row("weights", [run.model.weights for run in runs]),
        _row("dtype", each(lambda record: record.dtype)),
        _known("device", each(lambda record: record.device)),
        _known("threads", each(lambda record: str(record.threads or ""))),
        _known("torch", each(lambda record: record.versions.get("torch", ""))),
        _row("first token", [run.model.bos for run in runs]),
        _row("synthetic scores", [value_words(run.manifest.synthetic or run.model.synthetic) for run in runs]),
    ]
    return [row for row in rows if row is not None]


def sentences(names: Sequence[str], runs: Sequence[Run], rows: Sequence[Row]) -> list[str]:
    """The rows in words; of models with different vocabularies their examples are one sentence."""
    sizes = [run.model.d_vocab for run in runs]
    of_examples = [row for row in rows if row.of_examples]
    if len(set(sizes)) == 1 or not of_examples:
        return [row.words(names) for row in rows]
    known = " and ".join(f"{size:,} in {name}" for name, size in zip(names, sizes, strict=True))
    kept = f"the vocabularies differ ({known} tokens), so each run has the examples that its own tokenizer keeps"
    return [f"{kept} (see the table {TITLE!r})", *(row.words(names) for row in rows if not row.of_examples)]


def _row(what: str, values: Sequence[str]) -> Row | None:
    short = tuple(_short(value) for value in values)
    return Row(what, short) if len(set(values)) > 1 else None


def _known(what: str, values: Sequence[str]) -> Row | None:
    """A row that is left out where a run does not say, as one of an imported table does not."""
    return _row(what, values) if all(values) else None


def _short(value: str) -> str:
    return value[:12] if _DIGEST.fullmatch(value) else value or "–"


def of_suite(runs: Sequence[Run], suite: str) -> Iterator[Row]:
    """What differs in one suite: version, settings, data files, and the examples scored."""
    done = [run.manifest.suites[suite] for run in runs]
    rows = [_row(f"{suite}: version", [str(record.version) for record in done])]
    names = dict.fromkeys(name for record in done for name in record.settings)
    rows += [_row(f"{suite}.{name}", [value_words(record.settings.get(name)) for record in done]) for name in names]
    known = [record.data for record in done]  # runs of older versions have none
    files = dict.fromkeys(name for data in known for name in data) if all(known) else {}
    rows += [_row(f"{suite}: data file {name}", [data.get(name, "not read") for data in known]) for name in files]
    yield from (row for row in rows if row is not None)
    yield from _data(suite, [run.result(suite) for run in runs])


def _data(suite: str, results: Sequence[SuiteResult]) -> Iterator[Row]:
    """Examples by their stored names, and n, of what all runs scored."""
    shared = sorted(set.intersection(*(set(r.arrays) for r in results)))
    for dim in EXAMPLES:
        labels = [[r.arrays[name].labels.get(dim, ()) for name in shared] for r in results]
        other = [i for i in range(len(shared)) if len({found[i] for found in labels}) > 1]
        if other:
            values = tuple(_examples([found[i] for i in other], dim) for found in labels)
            yield Row(f"{suite}: {dim}s of {_list([shared[i] for i in other])}", values, of_examples=True)
    counts: dict[tuple[str, ...], list[str]] = {}
    for score in results[0].scores:
        others = [other for r in results for other in r.scores if other.key == score.key]
        values = tuple(str(other.n) for other in others)
        if len(others) == len(results) and len(set(values)) > 1:
            counts.setdefault(values, []).append(score.key.split("/", 1)[1])
    for values, keys in counts.items():
        yield Row(f"{suite}: n of {_list(keys)}", values, of_examples=True)


def _examples(labels: Sequence[tuple[str, ...]], dim: str) -> str:
    """How many examples, and a hash of them: `800 pairs, 3fa2b1c4`."""
    text = "\0".join(name for names in labels for name in names)
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{plural(sum(len(names) for names in labels), dim)}, {digest}"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}"

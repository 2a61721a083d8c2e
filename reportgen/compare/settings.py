"""What was done differently in the runs compared: settings, seeds, data. A difference of scores may come from these."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

from reportgen.report.about import by_suite
from reportgen.report.text import plural, value_words
from reportgen.runfolder import Run
from reportgen.scores import SuiteResult

EXAMPLES = ("pair", "prompt", "example", "question", "sequence", "text", "document")  # dimensions that name data
_DIGEST = re.compile(r"[0-9a-f]{64}")
ABSENT = "not part of this run"
Row = tuple[str, tuple[str, ...]]  # what, its value in each run


def differences(runs: Sequence[Run]) -> list[Row]:
    """Everything that could make scores differ although the models do not, in the order of the suites."""
    rows = [
        _row("seed", [by_suite(run.manifest, lambda record: str(record.seed)) for run in runs]),
        _row("preset", [by_suite(run.manifest, lambda record: record.preset) for run in runs]),
        _row("weights", [run.model.weights for run in runs]),
        _row("dtype", [by_suite(run.manifest, lambda record: record.dtype) for run in runs]),
        _known("device", [by_suite(run.manifest, lambda record: record.device) for run in runs]),
        _known("threads", [by_suite(run.manifest, lambda record: str(record.threads or "")) for run in runs]),
        _known("torch", [by_suite(run.manifest, lambda record: record.versions.get("torch", "")) for run in runs]),
        _row("first token", [run.model.bos for run in runs]),
        _row("synthetic scores", [value_words(run.manifest.synthetic or run.model.synthetic) for run in runs]),
    ]
    found = [row for row in rows if row is not None]
    for suite in dict.fromkeys(name for run in runs for name in run.manifest.suites):
        found += _suite(runs, suite)
    return found


def _row(what: str, values: Sequence[str]) -> Row | None:
    return (what, tuple(_short(value) for value in values)) if len(set(values)) > 1 else None


def _known(what: str, values: Sequence[str]) -> Row | None:
    """A row that is left out where a run does not say, as one of an imported table does not."""
    return _row(what, values) if all(values) else None


def _short(value: str) -> str:
    return value[:12] if _DIGEST.fullmatch(value) else value or "–"


def _suite(runs: Sequence[Run], suite: str) -> Iterator[Row]:
    records = [run.manifest.suites.get(suite) for run in runs]
    if any(record is None or record.status != "done" for record in records):
        yield f"{suite}", tuple(record.status if record else ABSENT for record in records)
        return
    done = [record for record in records if record is not None]
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
            yield f"{suite}: {dim}s of {_list([shared[i] for i in other])}", values
    counts: dict[tuple[str, ...], list[str]] = {}
    for score in results[0].scores:
        others = [other for r in results for other in r.scores if other.key == score.key]
        values = tuple(str(other.n) for other in others)
        if len(others) == len(results) and len(set(values)) > 1:
            counts.setdefault(values, []).append(score.key.split("/", 1)[1])
    for values, keys in counts.items():
        yield f"{suite}: n of {_list(keys)}", values


def _examples(labels: Sequence[tuple[str, ...]], dim: str) -> str:
    """How many examples, and a hash of them: `800 pairs, 3fa2b1c4`."""
    text = "\0".join(name for names in labels for name in names)
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{plural(sum(len(names) for names in labels), dim)}, {digest}"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}"

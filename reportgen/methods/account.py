"""What a stored run says about how it was made, gathered for a paper. No torch, nothing is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from reportgen import __version__, suites
from reportgen.errors import RunError, SettingsError
from reportgen.files import digest
from reportgen.manifest import Manifest, ModelRecord, SuiteRecord
from reportgen.report.about import by_suite, keys, setting_words
from reportgen.report.text import parameters, plural
from reportgen.runfolder import Run
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites.base import Suite

MOST_SETTINGS = 8  # named in a sentence


@dataclass(frozen=True)
class Sentence:
    """A sentence and the citation keys that belong to it, in published.toml."""

    text: str
    cites: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComputeRow:
    """One suite's cost. hours of scoring; RAM in GB is the process's peak since it began; GPU in GB, 0 on a CPU."""

    suite: str
    device: str
    dtype: str
    threads: int
    hours: float
    ram_gb: float
    gpu_gb: float


@dataclass(frozen=True)
class Account:
    """All that `reportgen methods` writes.

    done      paragraphs on what was done: the model and the whole first, then each suite, and those that did not score
    compute   a row per suite; total in hours
    answers   (question, draft answer) about error bars, compute and licences
    cites     citation keys, in the order in which they appear
    """

    model: str
    done: tuple[tuple[Sentence, ...], ...]
    compute: tuple[ComputeRow, ...]
    answers: tuple[tuple[str, str], ...]
    cites: tuple[str, ...] = field(default=())

    @property
    def hours(self) -> float:
        return sum(row.hours for row in self.compute)


def account(run: Run, names: Sequence[str] = ()) -> Account:
    """The account of a run, of the suites `names` (none = every finished one).

    Raises UserError: a damaged run, no finished suite, one that it has not, scores that were not made by a model.
    """
    if run.model.source in ("import", "comparison"):
        raise RunError(f"{run.path} holds no scores that reportgen made.", "Give a run that was made by reportgen run.")
    done = run.done()
    for name in names:
        if name not in done:
            raise SettingsError(
                f"{run.path} has no finished suite {name!r}.", f"Finished: {', '.join(done) or 'none'}."
            )
    wanted = [name for name in done if not names or name in names]
    if not wanted:
        raise RunError(f"{run.path} has no finished suite.", "Score it: reportgen run")
    known = suites.drawable(wanted)
    records = run.manifest.scored()
    paragraphs = [tuple(_whole(run.manifest, wanted))]
    paragraphs += [tuple(_of_suite(known.get(n), records[n], run.result(n))) for n in wanted]
    if not names and (left_out := tuple(_left_out(run.manifest))):
        paragraphs.append(left_out)
    answers = (
        ("Error bars and significance", _error_bars([run.result(name) for name in wanted])),
        ("Compute", _compute_words(run.manifest, wanted)),
        ("Licence of the weights", weights_licence(run.model)),
        ("Licence of the data", _data_licence(known, records, wanted)),
    )
    cites = dict.fromkeys(key for paragraph in paragraphs for sentence in paragraph for key in sentence.cites)
    rows = tuple(_row(name, records[name]) for name in wanted)
    return Account(run.model.described, tuple(paragraphs), rows, answers, tuple(cites))


def _whole(manifest: Manifest, names: Sequence[str]) -> Iterator[Sentence]:
    model = manifest.model
    heads = model.n_layers * model.n_heads
    grid = f"{plural(model.n_layers, 'layer')} of {plural(model.n_heads, 'query head')}"
    shared = f", {model.n_kv_heads} key-value heads a layer" if model.n_kv_heads != model.n_heads else ""
    yield Sentence(
        f"We scored all {heads:,} attention heads of {model.name} ({_origin(model)}; "
        f"{parameters(model.n_params)} parameters, {grid}{shared}) with reportgen "
        f"{by_suite(_only(manifest, names), lambda r: r.versions.get('reportgen', __version__))}."
    )
    some = _only(manifest, names)
    preset, seed = (by_suite(some, words) for words in (lambda r: r.preset, lambda r: str(r.seed)))
    dtype = by_suite(some, lambda r: r.dtype)
    yield Sentence(f"Preset {preset}, seed {seed}, computed in {dtype} from {model.weights} weights.")
    token, _, rule = model.bos.partition(": ")
    yield Sentence(f"First token: {token}{f' ({rule})' if rule else ''}.")
    if model.self_check is not None and model.self_check.passed:
        check = model.self_check
        close = f"within {check.max_abs_diff:.1g}" if check.max_abs_diff else "exactly"
        yield Sentence(
            f"The model's logits agree {close} with those of the Hugging Face implementation over "
            f"{plural(check.tokens, 'position')}."
        )


def _only(manifest: Manifest, names: Sequence[str]) -> Manifest:
    import msgspec

    return msgspec.structs.replace(manifest, suites={name: manifest.suites[name] for name in names})


def _origin(model: ModelRecord) -> str:
    known = {"hub": f"{model.hub_id or model.id}, revision {model.revision[:12]}", "bundled": "shipped with reportgen"}
    words = (known.get(model.source, "local files"), model.dequantised, f"sha256 {model.content_hash[:12]}")
    return ", ".join(filter(None, words))


def _of_suite(suite: Suite | None, record: SuiteRecord, result: SuiteResult) -> Iterator[Sentence]:
    """What one suite did: its summary, measures with n, nulls, and settings that are not the preset's."""
    if suite is None:
        yield Sentence(f"{result.suite}: {plural(len(result.scores), 'score')} by a suite that is not installed here.")
        return
    cites = tuple(dict.fromkeys(key for key in keys(suite, result) if _is_known(key)))
    yield Sentence(f"{suite.title}: {suite.summary.rstrip('.')}.", cites)
    used = [m for m in suite.measures if any(score.measure == m.name for score in result.scores)]
    if not used:
        whys = dict.fromkeys(one.why.rstrip(".") for one in result.not_computed)
        yield Sentence(f"No score of a head was computed{f': {next(iter(whys))}' if whys else ''}.")
        return
    yield Sentence(f"Scores of each head: {'; '.join(_lower(m.title) for m in used)}. {_examples(result.scores)}.")
    nulls = dict.fromkeys(m.null for m in used if m.null and not m.null.startswith("none"))
    if nulls:
        numbered = nulls if len(nulls) == 1 else [f"({i}) {null}" for i, null in enumerate(nulls, 1)]
        yield Sentence(f"{'Null' if len(nulls) == 1 else 'Nulls'}: {'; '.join(numbered)}.")
    changed = _changed(suite, record)
    if changed:
        yield Sentence(f"Settings other than those of the preset {record.preset}: {_and(changed)}.")


def _left_out(manifest: Manifest) -> Iterator[Sentence]:
    """Suites of the run that scored nothing, and why: the first sentence of what they said."""
    known = suites.drawable(manifest.suites)
    for name, record in manifest.suites.items():
        if record.status != "done":
            title = known[name].title if name in known else name
            ended = "failed" if record.status == "failed" else "was not scored"
            why = record.error.split(". ")[0].rstrip(".")
            yield Sentence(f"{title} {ended}{f': {why}' if why else ''}.")


def _lower(title: str) -> str:
    """A title within a sentence; acronyms stay."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _is_known(key: str) -> bool:
    from reportgen.published import load_catalogue

    return key in load_catalogue().papers


def _examples(scores: Iterable[HeadScores]) -> str:
    counts = sorted({score.n for score in scores if score.n})
    if not counts:
        return "Their n is not given"
    return f"n = {counts[0]:,}" if len(counts) == 1 else f"n = {counts[0]:,} to {counts[-1]:,}, by score"


def _changed(suite: Suite, record: SuiteRecord) -> list[str]:
    """Settings whose value is not the preset's, in words."""
    own = suite.make_settings(record.preset or "full", {})
    found = []
    for f in dataclasses.fields(own):
        usual, value = getattr(own, f.name), record.settings.get(f.name)
        if f.name in record.settings and (list(usual) if isinstance(usual, tuple) else usual) != value:
            found.append(f"{f.name} {setting_words(suite, f.name, value)}")
    more = [f"{len(found) - MOST_SETTINGS} more in run.json"] if len(found) > MOST_SETTINGS else []
    return found[:MOST_SETTINGS] + more


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


# Draft answers.


def _error_bars(results: Sequence[SuiteResult]) -> str:
    scores = [score for result in results for score in result.scores]
    intervals = [s for s in scores if s.low is not None and s.high is not None]
    tested = [s for s in scores if s.p is not None or s.line is not None]
    held = [s for s in scores if s.held_out is not None]
    counted = f"{len(intervals)} of {plural(len(scores), 'score map')} have a 95 % interval for every head"
    words = [
        f"{counted}, over examples (prompts, pairs, sequences or words; templates first where there are several).",
        f"{len(tested)} have a p-value or a threshold per head, adjusted over all heads for the family-wise error rate "
        "against the nulls named above." if tested else "No score has a null.",
    ]  # fmt: skip
    if held:
        words.append(f"For {len(held)} the best head is picked on one half of the examples and measured on the other.")
    estimated = sum(bool(s.estimated is not None and s.estimated.any()) for s in scores)
    if estimated:
        words.append(f"{plural(estimated, 'score map')} hold estimates, which have neither interval nor p.")
    words.append(
        "The intervals hold the model fixed: they do not cover other training seeds or checkpoints. Scoring again with "
        "the same seed gives the same numbers."
    )
    return " ".join(words)


def _row(name: str, record: SuiteRecord) -> ComputeRow:
    named = record.device_name and record.device_name != record.device
    device = f"{record.device} ({record.device_name})" if named else record.device
    return ComputeRow(
        name, device, record.dtype, record.threads, record.elapsed_s / 3600, record.peak_memory_bytes / 1e9,
        record.device_memory_bytes / 1e9,
    )  # fmt: skip


def _compute_words(manifest: Manifest, names: Sequence[str]) -> str:
    rows = [_row(name, manifest.scored()[name]) for name in names]
    hours, ram, gpu = sum(r.hours for r in rows), max(r.ram_gb for r in rows), max(r.gpu_gb for r in rows)
    devices = _and(list(dict.fromkeys(r.device for r in rows)))
    threads = sorted({r.threads for r in rows if r.threads})
    on = f"{devices}, {' or '.join(map(str, threads))} CPU threads" if threads else devices
    memory = f"{ram:.1f} GB of RAM at most" + (f" and {gpu:.1f} GB on the device" if gpu else "")
    return (
        f"Scoring took {time_words(hours)} on {on}, with {memory}. Loading the model, rendering, and runs that are not "
        "in this folder are not counted: add them."
    )


def time_words(hours: float) -> str:
    """`0.4 s`, `12 s`, `3.4 min`, `2.1 h`."""
    seconds = hours * 3600
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min" if hours < 2 else f"{hours:.1f} h"


def weights_licence(model: ModelRecord) -> str:
    """What is known of the licence of the weights: a run folder does not record it for models from elsewhere."""
    if model.source == "bundled":
        return "The model comes with reportgen, under the MIT licence."
    if model.hub_id:
        return f"Not recorded in the run: state the licence on https://huggingface.co/{model.hub_id}."
    return f"Not recorded in the run: state the licence of {model.described} and where its weights are from."


def _data_licence(known: dict[str, Suite], records: dict[str, SuiteRecord], names: Sequence[str]) -> str:
    shipped, own = [], []
    for name in names:
        suite = known.get(name)
        files = _own_files(suite, records[name])
        if suite is not None and suite.licence and not files:
            shipped.append(f"{suite.title}: {suite.licence}")
        elif files or suite is None:
            own.append(f"{name} read {_and(files) if files else 'data of a suite that is not installed here'}")
    words = f"Shipped with reportgen: {'; '.join(shipped)}." if shipped else ""
    asked = f"Your own: {'; '.join(own)}: state their licence." if own else ""
    return " ".join(filter(None, (words, asked))) or "No data files were read."


def _own_files(suite: Suite | None, record: SuiteRecord) -> list[str]:
    """Data files that are not those that come with reportgen."""
    if suite is None or not suites.shipped(suite):
        return list(record.data)
    return [name for name, sha in record.data.items() if sha not in _bundled()]


@cache
def _bundled() -> frozenset[str]:
    """Digests of the data files in this package: what a suite's `data` lists may need torch to list."""
    home = Path(__file__).parent.parent
    files = [path for folder in ("suites", "mini") for path in (home / folder).rglob("*") if path.suffix in _DATA]
    return frozenset(digest(path) for path in files)


_DATA = (".json", ".jsonl", ".toml", ".txt", ".safetensors")

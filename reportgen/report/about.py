"""What a report says about the run itself: facts of the first screen, provenance, settings, sources, head sets."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from reportgen import __version__, published
from reportgen.console import phase_words, took
from reportgen.files import digest
from reportgen.manifest import Manifest, ModelRecord, SuiteRecord
from reportgen.report.document import Pairs, SetText, Setting
from reportgen.report.text import parameters, plural, printed_count, value_words
from reportgen.scores import HeadSet, SuiteResult, head_name
from reportgen.selftest.record import in_words
from reportgen.suites import COMPARED_NAME as COMPARED
from reportgen.suites import IMPORTED_NAME as IMPORTED
from reportgen.suites import shipped
from reportgen.suites.base import Suite
from reportgen.suites.settings import help_of, zero_words


def facts(manifest: Manifest) -> Pairs:
    """The first screen's facts; facts not given for an imported model are left out."""
    model = manifest.model
    heads = plural(model.n_layers, "layer") + f" × {plural(model.n_heads, 'head')}"
    if model.n_kv_heads != model.n_heads:
        heads += f" ({model.n_kv_heads} key-value)"
    if model.source == "import":
        table = manifest.suites[IMPORTED].settings.get("table", "") if IMPORTED in manifest.suites else ""
        imported = f"{manifest.created[:10]} from {table}, computed elsewhere"
        return (("Grid", heads), ("Imported", imported), ("Interval, null, n", "not given"), ("Weights", model.weights))
    if model.source == "comparison":
        return _compared(manifest)
    rows = [
        ("Grid", heads),
        ("Parameters", parameters(model.n_params)),
        ("Widths", f"d_model {printed_count(model.d_model)}, d_head {printed_count(model.d_head)}"),
        ("Vocabulary", f"{printed_count(model.d_vocab)} columns of W_U"),
        ("Weights", _weights(manifest)),
        ("First token", model.bos),
        ("Device", by_suite(manifest, _device)),
        ("Scored", f"{manifest.created[:10]}, {by_suite(manifest, _how)}"),
    ]
    return tuple((name, value) for name, value in rows if value)


def _compared(manifest: Manifest) -> Pairs:
    """The runs of a comparison, and whether their heads may be subtracted."""
    settings = manifest.suites[COMPARED].settings if COMPARED in manifest.suites else {}
    runs = settings.get("runs")
    named = [str(run) for run in runs] if isinstance(runs, list | tuple) else []
    rows = [(f"Run {i}", run) for i, run in enumerate(named, start=1)]
    return (*rows, ("Lineage", value_words(settings.get("lineage"))), ("Compared", manifest.created[:10]))


def banner(results: Sequence[SuiteResult]) -> tuple[str, ...]:
    """Differences in data and settings between the runs of a comparison."""
    found = [result.facts.get("banner") for result in results if result.suite == COMPARED]
    return tuple(str(line) for lines in found if isinstance(lines, list | tuple) for line in lines)


def by_suite(manifest: Manifest, words: Callable[[SuiteRecord], str]) -> str:
    """What `words` says of every finished suite; where they differ `cpu: attention, relations; mps: circuits`."""
    found: dict[str, list[str]] = {}
    for name, record in manifest.scored().items():
        if record.status == "done":
            found.setdefault(words(record), []).append(name)
    if not found:
        return words(manifest.as_now(SuiteRecord("done", 0, {}, {})))
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{value or 'not known'}: {', '.join(names)}" for value, names in found.items())


def _weights(manifest: Manifest) -> str:
    """`raw, dequantised from Q4_1, float32`."""
    model = manifest.model
    return ", ".join(filter(None, (model.weights, model.dequantised, by_suite(manifest, lambda record: record.dtype))))


def _device(record: SuiteRecord) -> str:
    if not record.device_name or record.device_name == record.device:
        return record.device
    return f"{record.device} ({record.device_name})"


def _how(record: SuiteRecord) -> str:
    return f"preset {record.preset}, seed {record.seed}"


def _versions(manifest: Manifest) -> Pairs:
    """Every package's version, by suite where suites were scored with different ones."""
    records = [manifest.versions, *(record.versions for record in manifest.scored().values())]
    names = dict.fromkeys(name for versions in records for name in versions)

    def of(name: str) -> str:
        return by_suite(manifest, lambda record: record.versions.get(name, ""))

    return tuple((name, of(name)) for name in names)


HALF = ("float16", "bfloat16")


def rests_on_half(record: SuiteRecord, suite: Suite | None, result: SuiteResult) -> str:
    """Which scores of a suite come from half-precision activations, and what to type; empty if none do."""
    if record.dtype not in HALF:
        return ""
    exact = {measure.name for measure in suite.measures if measure.from_weights} if suite else set()
    named = [suite.measure(name).title for name in _measured(result) if name not in exact] if suite else ["all scores"]
    if not named:
        return ""
    return (
        f"Computed in half precision ({record.dtype} activations): {', '.join(named)}. Effects near 0 and heads near a "
        "threshold can fall on either side of it: rescore with --dtype float32 before relying on them."
    )


def _measured(result: SuiteResult) -> list[str]:
    """Names of the measures that a result has scores of, in order."""
    return list(dict.fromkeys(score.key.split("/")[1] for score in result.scores))


def half_precision(found: Mapping[str, str]) -> Pairs:
    """The first screen's line, from the sections that `rests_on_half` has something to say of: title -> dtype."""
    if not found:
        return ()
    kinds = " and ".join(dict.fromkeys(found.values()))
    return (("Half precision", f"{', '.join(found)}: {kinds} activations; --dtype float32 decides cases near a line"),)


_UNCHECKED = {
    "import": "not run: the scores were computed elsewhere, and the model was not loaded",
    "comparison": "none: each run's report has its own",
}


def self_check(model: ModelRecord) -> tuple[str, bool | None]:
    """The self-check in words, and whether it passed (None = not run)."""
    check = model.self_check
    if check is None:
        return _UNCHECKED.get(model.source, "not run"), None
    if check.tokens == 0:
        return f"not run: {check.note}" if check.note else "not run", None
    verb = "agree with" if check.passed else "DIFFER from"
    words = (
        f"logits {verb} the Hugging Face forward pass: largest difference {check.max_abs_diff:.2g} over "
        f"{plural(check.tokens, 'position')} (tolerance {check.tolerance:.2g}, logits' sd {check.logit_std:.3g})"
    )
    return words + (f"; {check.note}" if check.note else ""), check.passed


def provenance(manifest: Manifest) -> tuple[tuple[str, Pairs], ...]:
    """Everything needed to repeat the run, in groups."""
    model = manifest.model
    is_scored = model.source not in ("import", "comparison")
    commit = manifest.git_commit + (" with uncommitted changes" if manifest.git_dirty else "")
    run = (
        ("Command", shlex.join(manifest.argv)),
        ("Created", manifest.created),
        ("Updated", manifest.updated),
        ("Preset", by_suite(manifest, lambda record: record.preset)),
        ("Seed", by_suite(manifest, lambda record: str(record.seed)) if is_scored else ""),
        ("Device", by_suite(manifest, _device)),
        ("Threads", by_suite(manifest, lambda record: str(record.threads)) if is_scored else ""),
        ("Self-test", in_words(manifest.self_test) if is_scored else ""),
        ("Git commit of the working folder", commit),
        ("Published sets of", manifest.published_as),
        ("Overlay files", ", ".join(manifest.overlays)),
    )
    about_model: Pairs = (
        ("Id", model.id),
        ("Hub id", model.hub_id),
        ("Source", model.source),
        ("Revision", model.revision),
        ("Content hash (sha256)", model.content_hash),
        ("Family", model.family),
        ("Layers × heads", f"{model.n_layers} × {model.n_heads} ({model.n_kv_heads} key-value heads)"),
        ("Parameters", printed_count(model.n_params) if is_scored else ""),
        (
            "d_model, d_head, d_vocab",
            f"{printed_count(model.d_model)}, {printed_count(model.d_head)}, {printed_count(model.d_vocab)}"
            if is_scored
            else "",
        ),
        ("Context", plural(model.n_ctx, "position") if is_scored else ""),
        ("Weights", _weights(manifest) if is_scored else model.weights),
        ("First token", model.bos),
        ("Self-check", self_check(model)[0]),
    )
    if model.source == "comparison":
        about_model = ()
    times = tuple((name, _time(r)) for name, r in manifest.suites.items() if is_scored and r.status != "skipped")
    groups = (
        ("Run", run),
        ("Model", about_model),
        ("Time by suite and phase", times),
        ("Software", _versions(manifest)),
    )
    kept = ((title, tuple((k, v) for k, v in pairs if v)) for title, pairs in groups)
    return tuple((title, pairs) for title, pairs in kept if pairs) + _digests(manifest)


def _digests(manifest: Manifest) -> tuple[tuple[str, Pairs], ...]:
    rows = [(f"{name}: {_cost(r)}", digest) for _, r in manifest.suites.items() for name, digest in r.sha256.items()]
    return (("Stored scores (sha256)", tuple(rows)),) if rows else ()


def _time(record: SuiteRecord) -> str:
    """Actual and estimated time of a suite, and its longest phases."""
    phases = phase_words(record)
    return took(record) + (f": {phases}" if phases else "")


def _cost(record: SuiteRecord) -> str:
    held = f", {record.device_memory_bytes / 1e9:.2f} GB on the device" if record.device_memory_bytes else ""
    return f"version {record.version}, {record.elapsed_s:.1f} s{held}"


def settings(suite: Suite | None, record: SuiteRecord) -> tuple[Setting, ...]:
    """Every setting of a suite with the value used, its help, and whether the user gave it."""
    helps: dict[str, str] = {}
    if suite is not None:
        helps = {f.name: help_of(f) for f in dataclasses.fields(suite.settings)}
    return tuple(
        Setting(name, setting_words(suite, name, value), name in record.given, helps.get(name, ""))
        for name, value in record.settings.items()
    )


def setting_words(suite: Suite | None, name: str, value: object) -> str:
    """A setting's value in words; 0 and none as the suite, where it is known, says what they mean."""
    declared = dataclasses.fields(suite.settings) if suite is not None else ()
    return next((zero_words(f, value) for f in declared if f.name == name), "") or value_words(value)


def keys(suite: Suite | None, result: SuiteResult) -> Iterable[str]:
    """Citation keys of a section: the suite's, its measures', its published sets'."""
    if suite is not None:
        yield from suite.citations
        yield from (key for m in suite.measures if (key := _key(m.source)))
    yield from (s.source for s in result.head_sets if s.kind == "published")


def _key(source: str) -> str:
    """The citation key that opens a measure's source, e.g. of "elhelo2024maps, section 3"."""
    match = re.match(r"[a-z][a-z0-9_-]*\d{4}[a-z0-9_-]*", source)
    return match[0] if match else ""


OTHER_FILE = (
    "These scores were made by another version of the suite's file; words and figures are of the file given now."
)


def other_file(suite: Suite | None, record: SuiteRecord) -> str:
    """That a user's suite is no longer what scored; empty where it is, and where the run does not say."""
    if suite is None or not suite.file or record.status != "done":
        return ""
    name = Path(suite.file).name
    known = suite.version or name in record.data
    same = suite.version == record.version and (suite.version or record.data.get(name) == digest(Path(suite.file)))
    return OTHER_FILE if known and not same and not shipped(suite) else ""


def other_files(known: Mapping[str, Suite], manifest: Manifest) -> list[str]:
    """The suites of a run of which `other_file` says something, a line each."""
    found = {name: other_file(known.get(name), record) for name, record in manifest.suites.items()}
    return [f"{name}: {words}" for name, words in found.items() if words]


def citation(key: str) -> str:
    """The printed form of a source; empty when the catalogue does not have it."""
    try:
        return published.citation(key)
    except KeyError:
        return ""


def source(text: str) -> str:
    """A measure's source in words, its citation key as authors and year."""
    if text.strip() == "ours":
        return "added by this project"
    key = _key(text)
    return published.short_citation(key) + text[len(key) :] if key else text


def set_groups(
    sets: Sequence[HeadSet], holds: Mapping[str, str] | None = None
) -> tuple[tuple[str, tuple[SetText, ...]], ...]:
    """The head sets that figures can draw, with their sources, by legend; `holds` under other settings, by key."""
    groups: dict[str, list[SetText]] = {}
    for s in sets:
        text = SetText(
            label=s.label,
            heads=tuple(head_name(*h) for h in s.heads),
            rule=s.rule,
            source=published.short_citation(s.source),
            kind=s.kind if s.verified else f"{s.kind}, unconfirmed list",
            evidence=tuple(s.evidence.items()),
            holds=(holds or {}).get(s.key, ""),
        )
        groups.setdefault(s.legend, []).append(text)
    return tuple((legend, tuple(found)) for legend, found in groups.items())


def tool_bibtex() -> str:
    """The BibTeX entry of this program."""
    return (
        "@software{reportgen,\n"
        "  author = {{The reportgen developers}},\n"
        "  title = {{reportgen: static reports and figures for the attention heads of language models}},\n"
        f"  version = {{{__version__}}}\n}}"
    )

"""sparsify's text, a sparse checkpoint's gate and record, and the files of the suite `sparse`."""

from __future__ import annotations

from tests.hostile.bases import DRY
from tests.hostile.case import DEEP, Case, Content, garbled, odd_files

SPARSIFY = ("sparsify", "mini", "--offline", "--out", "{here}/out/new")
CONFIG = '{"model_type": "gpt2", "attention_gate": %s}'
GATE = '{"rule": "score + bias > 0", "bias": 0.0, "slack_nats": 0.01}'
TASK = 'title = "T"\ntemplates = ["{x} is"]\npairs = [["a", "b"], ["c", "d"], ["e", "f"]]\ndrawn = ["a", "b"]\n'


def _text(name: str, content: Content, says: str) -> Case:
    return Case(f"sparsify-text-{name}", (*SPARSIFY, "--text", "{here}/x.txt"), says, {"x.txt": content})


def _option(name: str, *words: str, says: str) -> Case:
    return Case(f"sparsify-{name}", (*SPARSIFY, "--corpus", "mini", *words), says)


def _setting(name: str, content: Content, says: str, file: str) -> Case:
    setting = {"p.toml": "prompts", "f.json": "feature_groups"}[file]
    words = (*DRY, "--suite", "sparse", "--set", f"sparse.{setting}={{here}}/{file}")
    return Case(f"sparse-{setting}-{name}", words, says, {file: content})


def _gate(name: str, gate: str, says: str, **files: Content) -> Case:
    content: dict[str, Content] = {"m/config.json": CONFIG % gate if gate else "{}"}
    content |= {f"m/{file}.json": inside for file, inside in files.items()}
    return Case(f"gate-{name}", (*DRY, "--suite", "sparse", "--set", "sparse.sparse_model={here}/m"), says, content)


CASES = (
    *(_text(name, content, says) for name, content, says in (*odd_files("x.txt"), *garbled(r"x\.txt"))),
    Case("sparsify-no-text", SPARSIFY, "needs one text to train on"),
    Case("sparsify-both", (*SPARSIFY, "--text", "x", "--corpus", "mini"), "needs one text to train on"),
    Case("sparsify-corpus", (*SPARSIFY, "--corpus", "web"), "no corpus 'web'"),
    Case("sparsify-taken", ("sparsify", "mini", "--corpus", "mini", "--out", "{here}/mine"), "exists already",
         {"mine/x": "y"}),
    Case("sparsify-no-name", ("sparsify", "mini", "--corpus", "mini", "--out", "/"), "no name for a new folder"),
    Case("sparsify-empty-name", ("sparsify", "mini", "--corpus", "mini", "--out", ""), "no name for a new folder"),
    _option("slack", "--slack", "nan", says="--slack nan is out of range"),
    _option("bias", "--bias", "inf", says="--bias inf is out of range"),
    _option("kl", "--kl", "1.5", says="--kl 1.5 is out of range"),
    _option("steps", "--steps", "0", says="--steps 0 is too small"),
    _option("length", "--length", "1", says="--length 1 is too small"),
    _option("threads", "--threads", "100000", says="--threads 100000"),
    _option("seed", "--seed", "-1", says="--seed -1"),
    *(_setting(name, content, says, "p.toml") for name, content, says in (
        *odd_files("p.toml")[:3], *garbled(r"p\.toml")[:1],
        ("truncated", TASK[:-3], r"p\.toml: not TOML"),
        ("title", TASK.replace('"T"', "1"), r"p\.toml: .*\$\.title"),
        ("templates", TASK.replace('["{x} is"]', "1"), r"p\.toml: .*\$\.templates"),
        ("no-place", TASK.replace("{x}", "x"), r"p\.toml: every template"),
        ("two-places", TASK.replace("{x}", "{x} {x}"), r"p\.toml: every template"),
        ("pair", TASK.replace('["a", "b"],', '["a"],'), r"p\.toml: .*\$\.pairs"),
        ("few", TASK.replace(', ["e", "f"]', ""), r"p\.toml: .*3 pairs"),
        ("drawn", TASK.replace('drawn = ["a", "b"]', ""), r"p\.toml: .*drawn"),
        ("extra", TASK + "x = 1\n", r"p\.toml: .*x"),
    )),
    *(_setting(name, content, says, "f.json") for name, content, says in (
        *odd_files("f.json")[:3], *garbled(r"f\.json")[:1],
        ("empty", "", r"f\.json: not JSON"),
        ("object", "{}", r"f\.json: Expected `array`"),
        ("deep", "[" * 1_000_000, r"f\.json: nested too deeply"),
        ("twice", '[{"name": "a", "name": "b"}]', r"f\.json: 'name' is given twice"),
        ("position", '[{"name": "a", "position": "x", "layers": [0, 1]}]', r"f\.json: .*position"),
        ("position-below", '[{"name": "a", "position": -1, "layers": [0, 1]}]', r"f\.json: 'a'"),
        ("layers-turned", '[{"name": "a", "position": 1, "layers": [2, 1]}]', r"f\.json: 'a'"),
        ("layers-three", '[{"name": "a", "position": 1, "layers": [0, 1, 2]}]', r"f\.json: .*layers"),
        ("nan", '[{"name": "a", "position": NaN, "layers": [0, 1]}]', r"f\.json: NaN"),
    )),
    _gate("none", "", "no attention_gate"),
    _gate("null", "null", "gate of another kind"),
    _gate("list", "[]", "gate of another kind"),
    _gate("rule", GATE.replace("score", "2 * score"), "gate of another kind"),
    _gate("code", '{"rule": "__import__(\'os\').system(\'touch evil\')"}', "gate of another kind"),
    _gate("bias-text", GATE.replace(": 0.0,", ': "0",'), "no usable bias"),
    _gate("bias-bool", GATE.replace(": 0.0,", ": true,"), "no usable bias"),
    _gate("bias-nan", GATE.replace(": 0.0,", ": NaN,"), r"config\.json: NaN"),
    _gate("bias-huge", GATE.replace(": 0.0,", ": 1e300,"), "no usable bias"),
    _gate("deep", "[" * DEEP, r"config\.json: nested too deeply"),
    _gate("record-empty", GATE, r"sparsify\.json: not JSON", sparsify=""),
    _gate("record-list", GATE, r"sparsify\.json: Expected `object`", sparsify="[]"),
    _gate("record-deep", GATE, r"sparsify\.json: nested too deeply", sparsify="[" * DEEP),
    _gate("record-short", GATE, r"sparsify\.json: .*missing required field", sparsify='{"schema": 1}'),
    _gate("record-garbled", GATE, r"sparsify\.json.*UTF-8", sparsify=b"\xff"),
)  # fmt: skip

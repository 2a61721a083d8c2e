"""Bugs put into the real functions, one at a time, and the check of `reportgen selftest` that must notice each.

A mutant is the function's own source with one piece of text replaced, compiled in its module and put in its place
wherever it was imported. `python -m tests.selftest.mutants` writes docs/mutations.md anew.
"""

from __future__ import annotations
import __future__

import importlib
import inspect
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from reportgen.selftest.checks import CHECKS

PAGE = Path(__file__).parent.parent.parent / "docs" / "mutations.md"


@dataclass(frozen=True)
class Mutant:
    """A bug: `before` in the source of `function` (of a module of reportgen.) becomes `after`; `check` must fail."""

    bug: str
    function: str  # "suites.ov:head_outputs"
    before: str
    after: str
    check: str

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """Put the bug into the function until the patch is undone."""
        module_name, _, path = self.function.partition(":")
        module = importlib.import_module(f"reportgen.{module_name}")
        *owners, name = path.split(".")
        owner: Any = module
        for part in owners:
            owner = getattr(owner, part)
        original = getattr(owner, name)
        mutated = self._mutated(original, module, name)
        patch.setattr(owner, name, mutated)
        if owner is module:
            for other in [m for key, m in sys.modules.items() if key.startswith("reportgen.")]:
                for alias in [key for key, value in vars(other).items() if value is original]:
                    patch.setattr(other, alias, mutated)

    def _mutated(self, original: Any, module: ModuleType, name: str) -> FunctionType:
        source = textwrap.dedent(inspect.getsource(original))
        assert source.count(self.before) == 1, (self.function, self.before, source.count(self.before))
        source = source.replace(self.before, self.after)
        flag = __future__.annotations.compiler_flag
        scope: dict[str, Any] = {}
        exec(compile(source, f"<{self.bug}>", "exec", flags=flag, dont_inherit=True), vars(module), scope)
        made: FunctionType = scope[name]
        return made


_PATTERNS, _PASSES, _ENGINE = "suites.attention.patterns", "suites.relations.passes", "suites.relations.engine"
_EFFECTS, _STATICS, _TRACES = "suites.circuits.effects", "models.statics", "suites.circuits.traces"

MUTANTS = (
    Mutant("offset -1: the copy itself, not the token after", f"{_PATTERNS}:_reducer",
           "_diagonal(pattern, lag - 1)", "_diagonal(pattern, lag)", "planted induction"),
    Mutant("previous token read at distance 0", f"{_PATTERNS}:_reducer",
           "_diagonal(pattern, 1)", "_diagonal(pattern, 0)", "induction heads named"),
    Mutant("the BOS column counts for the previous token", f"{_PATTERNS}:_reducer",
           "_diagonal(pattern, 1)[..., 1:]", "_diagonal(pattern, 1)", "uniform attention"),
    Mutant("entropy divided by the log of one key too many", f"{_PATTERNS}:_reducer",
           "torch.arange(2, length + 1", "torch.arange(3, length + 2", "uniform attention"),
    Mutant("uniform base rate of rows one longer", f"{_PATTERNS}:base_rates",
           "np.arange(1, length + 1)", "np.arange(2, length + 2)", "uniform base rate"),
    Mutant("a small last batch counts as much as a full one", f"{_PATTERNS}:measure",
           "(rows.stop - rows.start) / count", "batch / count", "batches, patterns"),
    Mutant("the repeat is looked for at the shortest block length only", "suites.attention.score:_collect",
           "tally.induction[at, made.which]", "tally.induction[:, 0]", "decoy of fixed distance"),
    Mutant("the null's labels are never permuted", "suites.attention.nulls:permuted_labels",
           "rng.permuted(np.tile(own, (size, 1)), axis=1)", "np.tile(own, (size, 1))", "repeats permuted"),
    Mutant("prefix matching alone makes an induction head", "suites.attention.heads:head_sets",
           "copying >= settings.copy_threshold", "copying >= 0", "induction heads named"),
    Mutant("lost BOS in random sequences", "suites.attention.sequences:repeated",
           "if bos_id is not None:", "if bos_id is None:", "position 0"),
    Mutant("lost BOS in prompts", "models.tokens:Tokens.prompt_ids",
           "ids if self.bos_id is None else [self.bos_id, *ids]", "ids", "position 0"),
    Mutant("transposed W_O", f"{_STATICS}:StaticWeights.W_O", '!= "conv_qkv"', '== "conv_qkv"', "W_O"),
    Mutant("W_K for W_V", f"{_STATICS}:StaticWeights.W_V",
           "w[:, 2 * r.n_heads * r.d_head :]", "w[:, r.n_heads * r.d_head : 2 * r.n_heads * r.d_head]", "W_V"),
    Mutant("folded b_V", f"{_STATICS}:StaticWeights.W_V",
           "w = w[:, 2 * r.n_heads * r.d_head :]",
           'w = (w + self._tensor(self.layout.at(layer, f"{self.layout.value}.bias")))[:, 2 * r.n_heads * r.d_head :]',
           "W_V"),
    Mutant("LN1 for LN2", f"{_STATICS}:StaticWeights.first_mlp",
           "(layout.mlp_norm, *layout.mlp)", "(layout.ln1, *layout.mlp)", "first MLP"),
    Mutant("no norm before the first MLP", f"{_STATICS}:StaticWeights.first_mlp",
           "(layout.mlp_norm, *layout.mlp)", "layout.mlp", "first MLP"),
    Mutant("wrong KV map in relation scores", f"{_ENGINE}:Ranker.layer",
           "z64, O64 = values[head // group]", "z64, O64 = values[head % len(values)]", "grouped queries, relations"),
    Mutant("wrong KV map in what OV circuits write", "suites.ov:head_outputs",
           "values.repeat_interleave(W_O.shape[0] // W_V.shape[0], dim=0)",
           "values.repeat(W_O.shape[0] // W_V.shape[0], 1, 1)", "grouped queries, copying"),
    Mutant("every head reads the first head's values", f"{_ENGINE}:Ranker.layer",
           "z64, O64 = values[head // group]", "z64, O64 = values[0]", "heads permuted"),
    Mutant("tokens of the last chunk of the vocabulary are forgotten", f"{_ENGINE}:Ranker.__init__",
           "for a in range(0, self.d_vocab, chunk)", "for a in range(0, self.d_vocab - chunk, chunk)",
           "vocabulary permuted"),
    Mutant("tie rule: the best of the tied ranks", "suites.relations.recheck:midranks",
           "2 + 2 * above + tied", "2 + 2 * above", "tied targets"),
    Mutant("tie rule: the worst of the tied ranks", "suites.relations.recheck:midranks",
           "2 + 2 * above + tied", "2 + 2 * above + 2 * tied", "tied targets"),
    Mutant("rank k is no hit", f"{_PASSES}:Pass.relation",
           '"score": known & (twice <= 2 * k)', '"score": known & (twice < 2 * k)', "rank k"),
    Mutant("suppression off by one rank", f"{_PASSES}:mirrored",
           "2 * (d_vocab + 1)", "2 * (d_vocab + 2)", "planted suppression"),
    Mutant("suppression counts the top of the row", f"{_PASSES}:Pass.relation",
           '"suppression": known & (flipped <= 2 * k)', '"suppression": known & (twice <= 2 * k)',
           "planted suppression"),
    Mutant("strict keeps the source's own column", f"{_PASSES}:Pass.relation",
           "np.maximum(twice, above + np.uint32(2)) - above", "twice", "copier, adjusted"),
    Mutant("the ideal copier's hits are not taken off", f"{_PASSES}:Pass.relation",
           "apart & ~copied", "apart", "copier, adjusted"),
    Mutant("a head that writes nothing is scored", f"{_PASSES}:rank_all",
           "finite & (norms > INACTIVE * median)", "finite", "dead head"),
    Mutant("layer 0 reads the first MLP, too", f"{_PASSES}:Inputs.of",
           "self.first if layer == 0 else self.later", "self.later", "what layers read"),
    Mutant("values scaled per head dimension", f"{_ENGINE}:Ranker.layer",
           "values = [x64 @ self._double(V) for V in W_V]",
           "values = [torch.nn.functional.normalize(x64 @ self._double(V), dim=0) for V in W_V]", "W_V R, R^-1 W_O"),
    Mutant("a share of one pair more", "suites.relations.results:_share",
           "counts / max(n, 1)", "counts / (max(n, 1) + 1)", "planted relation"),
    Mutant("permuted scores are never counted", "stats:step_down_max_t",
           "highest >= z[0] - 1e-9", "highest > z[0] + 1e9", "permuted targets"),
    Mutant("targets are never permuted", "suites.relations.null:Permutations.__init__",
           "rng.permuted(np.tile(np.arange(n, dtype=np.int32), (draws, 1)), axis=1)",
           "np.tile(np.arange(n, dtype=np.int32), (draws, 1))", "planted relation, p"),
    Mutant("a tie with the other words is a copy", "suites.ov:copying_among",
           "own > logits.amax(dim=-1)", "own >= logits.amax(dim=-1)", "copying"),
    Mutant("swapped foil", f"{_TRACES}:Metric.logit_diff",
           "self.answers.mean(logits, prompts) - self.foils.mean(logits, prompts)",
           "self.foils.mean(logits, prompts) - self.answers.mean(logits, prompts)", "metric"),
    Mutant("a batch is measured against the first prompts' answers", f"{_TRACES}:trace",
           "kept.m[rows] = metric(logits, rows)", "kept.m[rows] = metric(logits, torch.arange(len(rows)))",
           "batches, prompts"),
    Mutant("head outputs kept from the first position", f"{_TRACES}:_keepers",
           "z[:, -1].float()", "z[:, 0].float()", "attributions sum, LayerNorm"),
    Mutant("direct effects with the sign turned", f"{_EFFECTS}:direct_effects",
           "change = clean.m[rows] - torch.cat(", "change = -clean.m[rows] + torch.cat(", "direct effects"),
    Mutant("patched with its own clean output", f"{_EFFECTS}:_Frozen._write",
           "self.corrupted.z[rows, layer, senders]", "self.clean.z[rows, layer, senders]", "planted mover and decoys"),
    Mutant("final norm's scale left out", f"{_EFFECTS}:_through_norm",
           "toward if scale is None else toward * scale", "toward", "attributions sum, RMS norm"),
    Mutant("final LayerNorm not centred", f"{_EFFECTS}:_through_norm",
           "toward - toward.mean(1, keepdim=True)", "toward", "attributions sum, LayerNorm"),
    Mutant("RMS norm taken for LayerNorm", f"{_EFFECTS}:is_rms",
           'hasattr(model.config, "rms_norm_eps")', "False", "attributions sum, RMS norm"),
    Mutant("a mover is looked for on the first copy", "suites.circuits.roles:Evidence.looks",
           "first == self.task.attended[0]", "first == self.task.attended[1]", "planted mover and decoys"),
    Mutant("previous-token attention read from the copy itself", "suites.circuits.looks:_adder",
           "(copy + 1, copy)", "(copy, copy)", "planted mover and decoys"),
)  # fmt: skip


def page() -> str:
    """docs/mutations.md."""
    lines = [
        "# Seeded bugs",
        "",
        "`reportgen selftest` runs the scores on planted heads, closed forms and identities. Below are bugs put into",
        f"the real functions one at a time ({len(MUTANTS)} of them), each with the check that then fails;",
        "`tests/selftest/test_mutations.py` does it and compares this table with what it did.",
        f"No bug is aimed at: {', '.join(name for name in CHECKS if name not in {m.check for m in MUTANTS})}.",
        "",
        "| bug | function | source | becomes | caught by |",
        "|---|---|---|---|---|",
    ]
    rows = [f"| {m.bug} | `{m.function}` | `{m.before}` | `{m.after}` | {m.check} |" for m in MUTANTS]
    return "\n".join([*lines, *rows]) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")

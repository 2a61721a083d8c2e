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


_PATTERNS, _PASSES, _ENGINE = (
    "suites.attention.scoring.patterns",
    "suites.relations.scoring.static",
    "suites.relations.scoring.ranks",
)
_EFFECTS, _STATICS, _TRACES = "suites.circuits.scoring.effects", "models.weights", "suites.circuits.scoring.task_runs"
_METRIC = "suites.circuits.scoring.passes"
_WEIGHTS = "suites.weights.scoring"

MUTANTS = (
    Mutant("offset -1: the copy itself, not the token after", f"{_PATTERNS}:_reducer",
           "_diagonal(pattern, lag - 1)", "_diagonal(pattern, lag)", "planted induction"),
    Mutant("previous token read at distance 0", f"{_PATTERNS}:_reducer",
           "_diagonal(pattern, 1)", "_diagonal(pattern, 0)", "induction heads named"),
    Mutant("the BOS column counts for the previous token", f"{_PATTERNS}:_reducer",
           "_diagonal(pattern, 1)[..., 1:]", "_diagonal(pattern, 1)", "uniform attention"),
    Mutant("entropy divided by the log of one key too many", f"{_PATTERNS}:_reducer",
           "torch.arange(2, length + 1", "torch.arange(3, length + 2", "uniform attention"),
    Mutant("uniform base rate of rows one token longer", f"{_PATTERNS}:base_rates",
           "np.arange(1, length + 1)", "np.arange(2, length + 2)", "uniform base rate"),
    Mutant("a small last batch counts as much as a full one", f"{_PATTERNS}:measure",
           "(rows.stop - rows.start) / count", "batch / count", "batches, patterns"),
    Mutant("the repeat is read at the shortest block length only", "suites.attention.scoring.score:_collect",
           "tally.induction[at, made.which]", "tally.induction[:, 0]", "decoy of fixed distance"),
    Mutant("the null's labels are never permuted", "suites.attention.scoring.score:permuted_labels",
           "rng.permuted(np.tile(own, (size, 1)), axis=1)", "np.tile(own, (size, 1))", "repeats permuted"),
    Mutant("prefix matching alone makes an induction head", "suites.attention.scoring.score:head_sets",
           "copying >= settings.copy_threshold", "copying >= 0", "induction heads named"),
    Mutant("BOS missing in random sequences", "suites.attention.scoring.patterns:repeated",
           "if bos_id is not None:", "if bos_id is None:", "position 0"),
    Mutant("BOS missing in prompts", "models.tokens:Tokens.prompt_ids",
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
    Mutant("the last chunk of the vocabulary is skipped", f"{_ENGINE}:Ranker.__init__",
           "for a in range(0, self.d_vocab, chunk)", "for a in range(0, self.d_vocab - chunk, chunk)",
           "vocabulary permuted"),
    Mutant("ties get the best tied rank", "suites.relations.scoring.ranks:midranks",
           "2 + 2 * above + tied", "2 + 2 * above", "tied targets"),
    Mutant("ties get the worst tied rank", "suites.relations.scoring.ranks:midranks",
           "2 + 2 * above + tied", "2 + 2 * above + 2 * tied", "tied targets"),
    Mutant("rank k does not count as a hit", f"{_PASSES}:RankPass.relation",
           '"score": known & (twice <= 2 * k)', '"score": known & (twice < 2 * k)', "rank k"),
    Mutant("suppression off by one rank", f"{_PASSES}:mirrored",
           "2 * (d_vocab + 1)", "2 * (d_vocab + 2)", "planted suppression"),
    Mutant("suppression counts the top of the row", f"{_PASSES}:RankPass.relation",
           '"suppression": known & (flipped <= 2 * k)', '"suppression": known & (twice <= 2 * k)',
           "planted suppression"),
    Mutant("strict keeps the source's own column", f"{_PASSES}:RankPass.relation",
           "np.maximum(twice, above + np.uint32(2)) - above", "twice", "copier, adjusted"),
    Mutant("the ideal copier's hits are not excluded", f"{_PASSES}:RankPass.relation",
           "apart & ~copied", "apart", "copier, adjusted"),
    Mutant("a head that writes nothing is scored", f"{_PASSES}:rank_all",
           "finite & (norms > INACTIVE * median)", "finite", "dead head"),
    Mutant("layer 0 also reads the first MLP", f"{_PASSES}:Inputs.of",
           "self.first if layer == 0 else self.later", "self.later", "what layers read"),
    Mutant("values scaled per head dimension", f"{_ENGINE}:Ranker.layer",
           "values = [x64 @ self._double(V) for V in W_V]",
           "values = [torch.nn.functional.normalize(x64 @ self._double(V), dim=0) for V in W_V]", "W_V R, R^-1 W_O"),
    Mutant("the share counts one pair too many", "suites.relations.scoring.results:_share",
           "counts / max(n, 1)", "counts / (max(n, 1) + 1)", "planted relation"),
    Mutant("permuted scores are never counted", "stats:step_down_max_t",
           "highest >= z[0] - 1e-9", "highest > z[0] + 1e9", "permuted targets"),
    Mutant("targets are never permuted", "suites.relations.scoring.static:Permutations.__init__",
           "rng.permuted(np.tile(np.arange(n, dtype=np.int32), (draws, 1)), axis=1)",
           "np.tile(np.arange(n, dtype=np.int32), (draws, 1))", "planted relation, p"),
    Mutant("a tie with the other words counts as a copy", "suites.ov:copying_among",
           "own > logits.amax(dim=-1)", "own >= logits.amax(dim=-1)", "copying"),
    Mutant("answer and foil swapped", f"{_METRIC}:Metric.logit_diff",
           "answers.mean(logits, prompts) - foils.mean(logits, prompts)",
           "foils.mean(logits, prompts) - answers.mean(logits, prompts)", "metric"),
    Mutant("a batch is measured against the first prompts' answers", f"{_TRACES}:trace",
           "kept.m[rows] = metric(logits, rows)", "kept.m[rows] = metric(logits, torch.arange(len(rows)))",
           "batches, prompts"),
    Mutant("head outputs kept from the first position", f"{_TRACES}:_keepers",
           "z[:, -1].float()", "z[:, 0].float()", "attributions sum, LayerNorm"),
    Mutant("direct effects with the sign flipped", f"{_EFFECTS}:direct_effects",
           "change = m_clean - frozen.patched(", "change = -m_clean + frozen.patched(", "direct effects"),
    Mutant("patched with its own clean output", f"{_EFFECTS}:_Frozen.patched",
           "self.corrupted.z[:, layer] - ", "self.clean.z[:, layer] - ", "planted mover and decoys"),
    Mutant("final norm's scale left out", f"{_EFFECTS}:_through_norm",
           "toward if scale is None else toward * scale", "toward", "attributions sum, RMS norm"),
    Mutant("final LayerNorm not centred", f"{_EFFECTS}:_through_norm",
           "toward - toward.mean(1, keepdim=True)", "toward", "attributions sum, LayerNorm"),
    Mutant("RMS norm treated as LayerNorm", f"{_EFFECTS}:is_rms",
           'hasattr(model.config, "rms_norm_eps")', "False", "attributions sum, RMS norm"),
    Mutant("transposed K", f"{_STATICS}:StaticWeights._read_by",
           'w.T if packing == "conv_qkv" else w', 'w.T if packing == "conv_qkv" or which == "k" else w',
           "queries and keys"),
    Mutant("neighbours turn together where halves do", f"{_STATICS}:StaticWeights.rotary",
           'if self.layout.rotary == "halves"', 'if self.layout.rotary == "neighbours"', "queries and keys"),
    Mutant("keys read where queries are packed", f"{_STATICS}:StaticWeights._read_by",
           'w[:all_q] if which == "q"', 'w[:all_q] if which == "k"', "queries and keys"),
    Mutant("b_Q left out", f"{_STATICS}:StaticWeights.b_Q", 'return self._bias(layer, "q")', "return None",
           "queries and keys"),
    Mutant("positions turn the wrong way", f"{_WEIGHTS}.heads:turned",
           "angle.sin(), -angle.sin()", "-angle.sin(), angle.sin()", "queries and keys"),
    Mutant("forgotten group in eigenvalues", f"{_WEIGHTS}.heads:LayerHeads.per_head",
           "shared.repeat_interleave(self.group, dim=0)", "shared.repeat(self.group, 1, 1)",
           "eigenvalues, small and whole"),
    Mutant("forgotten group in composition", f"{_WEIGHTS}.composition:_pairs",
           "other.Y.view(shared, group, d_head * d_head)",
           "other.Y.view(group, shared, d_head * d_head).transpose(0, 1)", "composition"),
    Mutant("Frobenius norm cycled", f"{_WEIGHTS}.composition:writer",
           "gram = heads.per_head(heads.V.mT @ heads.V)",
           "gram = (heads.O @ heads.per_head(heads.V)).mT @ (heads.O @ heads.per_head(heads.V))", "composition"),
    Mutant("the norm's scale left out", f"{_WEIGHTS}.heads:_behind_norm",
           "W if scale is None else W * scale[:, None]", "W", "norm folded"),
    Mutant("slow planes averaged too", f"{_WEIGHTS}.heads:phase_averaged",
           "turn.wavelengths <= n_ctx", "turn.wavelengths > 0", "composition, rotary"),
    Mutant("planes of the other pairing are averaged", f"{_WEIGHTS}.heads:phase_averaged",
           "one, other = (side[turning].to(gram.device) for side in turn.pairs)",
           "one, other = (torch.tensor(side, device=gram.device) for side in ([0, 2], [1, 3]))",
           "composition, rotary"),
    Mutant("half a trace kept twice", f"{_WEIGHTS}.heads:phase_averaged",
           "gram[..., other, other]) / 2", "gram[..., other, other])", "composition, rotary"),
    Mutant("the null's sd without centring", f"{_WEIGHTS}.composition:_spread",
           "- 1 / d", "+ 4 / d", "composition, null"),
    Mutant("embeddings not centred", f"{_WEIGHTS}.heads:products",
           "copying -= torch.outer", "copying += 0 * torch.outer", "eigenvalues, small and whole"),
    Mutant("sizes of eigenvalues lose their imaginary part", f"{_WEIGHTS}.eigen:signed_share",
           "sizes = found.abs()", "sizes = found.real.abs()", "eigenvalues, small and whole"),
    Mutant("suppression counted from the top", f"{_WEIGHTS}.suppression:Suppression.see",
           'count("lt", logits', 'count("gt", logits', "planted suppressor"),
    Mutant("the search counts from the bottom", f"{_WEIGHTS}.suppression:Suppression._top",
           '("gt", "eq")', '("lt", "eq")', "planted suppressor"),
    Mutant("the order is walked backwards", "suites.weights.classes:KeptClass.after",
           "(place + steps) % size", "(place - steps) % size", "planted successor"),
    Mutant("position 0 is fed its embedding in every layer", "models.one_block:at_first_position",
           "given, x = one.run(x)", "given, x = one.run(None)", "single token"),
    Mutant("the inner rotation is left out of the null", f"{_WEIGHTS}.eigen:RotatedNull.layer",
           "core @ torch.stack(self.inner)", "core @ core.mT", "eigenvalues, null"),
    Mutant("mover attention read from the wrong copy", "suites.circuits.scoring.roles:HeadEvidence.looks",
           "first == self.task.attended[0]", "first == self.task.attended[1]", "planted mover and decoys"),
    Mutant("previous-token attention read from the copy itself", "suites.circuits.scoring.roles:_adder",
           "(copy + 1, copy)", "(copy, copy)", "planted mover and decoys"),
)  # fmt: skip


def page() -> str:
    """docs/mutations.md."""
    lines = [
        "# Seeded bugs",
        "",
        "`reportgen selftest` runs the scores on planted heads, closed forms and identities. The table lists",
        f"{len(MUTANTS)} bugs seeded in the real functions, one at a time, and the check that fails for each;",
        "`tests/selftest/test_mutations.py` seeds them and compares this table with the result.",
        f"No bug targets: {', '.join(name for name in CHECKS if name not in {m.check for m in MUTANTS})}.",
        "",
        "| bug | function | source | becomes | caught by |",
        "|---|---|---|---|---|",
    ]
    rows = [f"| {m.bug} | `{m.function}` | `{m.before}` | `{m.after}` | {m.check} |" for m in MUTANTS]
    return "\n".join([*lines, *rows]) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")

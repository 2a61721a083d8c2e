"""All checks by name, and running them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from reportgen.errors import one_line
from reportgen.selftest import dynamic, static
from reportgen.selftest.found import Found
from reportgen.selftest.models import Bench

Check = Callable[[Bench], Found]


def _static(check: Callable[[static.Static], Found]) -> Check:
    return lambda bench: check(bench.static)


# Static first: they need no checkpoint.
CHECKS: dict[str, Check] = {
    "planted relation": _static(static.planted_relation),
    "planted suppression": _static(static.planted_suppression),
    "planted relation, p": _static(static.planted_p),
    "permuted targets": _static(static.permuted_targets),
    "copier, adjusted": _static(static.copier),
    "tied targets": _static(static.ties),
    "rank k": _static(static.third),
    "dead head": _static(static.dead_head),
    "what layers read": _static(static.first_layer),
    "heads permuted": _static(static.permuted_heads),
    "vocabulary permuted": _static(static.permuted_vocabulary),
    "W_V R, R^-1 W_O": _static(static.rotated_values),
    "grouped queries, relations": _static(static.grouped_relations),
    "grouped queries, copying": _static(static.grouped_copying),
    "planted induction": dynamic.planted_induction,
    "induction heads named": dynamic.induction_heads,
    "decoy of fixed distance": dynamic.fixed_distance,
    "repeats permuted": dynamic.permuted_repeats,
    "uniform attention": dynamic.uniform,
    "uniform base rate": dynamic.uniform_base_rate,
    "position 0": dynamic.beginning,
    "planted mover and decoys": dynamic.planted_mover,
    "metric": dynamic.metric,
    "attributions sum, LayerNorm": dynamic.attribution_sum,
    "attributions sum, RMS norm": dynamic.attribution_sum_rms,
    "W_O": dynamic.head_outputs,
    "W_V": dynamic.value_maps,
    "first MLP": dynamic.first_mlp,
    "copying": dynamic.copying,
    "direct effects": dynamic.frozen,
    "batches, prompts": dynamic.batch_split,
    "batches, patterns": dynamic.batch_split_patterns,
    "tokens after the prompt": dynamic.padding,
}


def run_checks() -> Iterator[tuple[str, Found]]:
    """Run every check, one after another, on models made in a temporary folder. OSError where that has no room."""
    with tempfile.TemporaryDirectory(prefix="reportgen-selftest-") as folder:
        bench = Bench(Path(folder))
        for name, check in CHECKS.items():
            yield name, _run(check, bench)


def _run(check: Check, bench: Bench) -> Found:
    try:
        return check(bench)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  a check that breaks has failed, and the others still say what they find
        return Found("an answer", one_line(f"{type(error).__name__}: {error}"), holds=False)

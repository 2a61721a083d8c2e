"""Weights and activations that are not finite: said in the cells or in a line, never drawn, counted or tested."""

from __future__ import annotations

import csv
import html
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reportgen.models.load import load
from reportgen.report.build import build
from reportgen.report.html import page
from reportgen.report.render import scores_csv
from reportgen.runfolder import Run
from reportgen.scores import HeadScores
from tests.families import made

NAN = float("nan")
COMPARE_LOGITS = ("circuits", "cognitive", "sparse")
Tensors = dict[str, Tensor]
Grids = list[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]


def _output_of_one_head(t: Tensors) -> None:
    t["transformer.h.1.attn.c_proj.weight"][8:16] = NAN  # L1H1: [n_heads*d_head d_model]


def _values_of_one_head(t: Tensors) -> None:
    t["transformer.h.0.attn.c_attn.weight"][:, 64 + 8 : 64 + 16] = float("inf")  # L0H1's V


def _one_layer(t: Tensors) -> None:
    for name in t:
        if name.startswith("transformer.h.1."):
            t[name].fill_(NAN)


def _embedding(t: Tensors) -> None:
    t["transformer.wte.weight"].fill_(NAN)


def _huge(t: Tensors) -> None:
    for name in t:
        t[name] = (t[name] * 1e4).clamp(-6e4, 6e4)  # finite in float16, its products are not


# damage -> (what is done, dtype, heads whose own weights are broken, layers whose attention is)
DAMAGE: dict[str, tuple[Callable[[Tensors], None], str, set[tuple[int, int]], set[int]]] = {
    "output of one head": (_output_of_one_head, "float32", {(1, 1)}, set()),
    "values of one head": (_values_of_one_head, "float32", {(0, 1)}, {1}),
    "one layer": (_one_layer, "float32", {(1, h) for h in range(4)}, {1}),
    "embedding": (_embedding, "float32", {(lay, h) for lay in (0, 1) for h in range(4)}, {0, 1}),
    "overflow": (_huge, "float16", set(), {0, 1}),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        torch.set_num_threads(1)
        yield made.spoken_folder("gpt2", tmp_path_factory.mktemp("sound") / "net")


@pytest.fixture(scope="module")
def undamaged(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made.small_run(sound, tmp_path_factory.mktemp("undamaged"), ("relations", "attention"))


def damaged(sound: Path, folder: Path, how: str) -> Run:
    """A run of all suites on the checkpoint with this damage."""
    change, dtype, _, _ = DAMAGE[how]
    net = Path(shutil.copytree(sound, folder / "net"))
    tensors = load_file(net / "model.safetensors")
    change(tensors)
    save_file(tensors, net / "model.safetensors", metadata={"format": "pt"})
    return made.small_run(net, folder, asks=load(sound, device="cpu"), dtype=dtype)


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_said_and_nothing_is_made_of_it(how: str, sound: Path, undamaged: Run, tmp_path: Path) -> None:
    run = damaged(sound, tmp_path, how)
    _, _, heads, layers = DAMAGE[how]
    check = run.manifest.model.self_check
    assert check is not None
    assert not check.passed
    assert "not finite" in check.note
    refused = {name: record for name, record in run.manifest.suites.items() if record.status == "skipped"}
    assert {record.status for record in run.manifest.suites.values()} <= {"done", "skipped"}
    assert set(COMPARE_LOGITS) <= set(refused)
    for record in refused.values():
        assert record.error is not None
        assert ("overflow float16" if how == "overflow" else "NaN or infinite values in transformer.") in record.error
    for score in run.result("relations").scores:
        before = undamaged.result("relations")[score.key]
        _left_out(score, before, heads if not score.measure.startswith("dynamic") else None)
    if layers == {0, 1}:
        assert "attention" in refused
    else:
        for score in run.result("attention").scores:
            before = undamaged.result("attention")[score.key]
            _left_out(score, before, {(lay, h) for lay in layers for h in range(4)})
    _shown(run, how)


def _left_out(score: HeadScores, before: HeadScores, heads: set[tuple[int, int]] | None) -> None:
    """Exactly `heads` lack a value that they had, an interval and a p; the others have the numbers they had."""
    for layer, head in np.ndindex(score.values.shape):
        gone = np.isnan(score.values[layer, head])
        if heads is not None:
            assert gone == ((layer, head) in heads or np.isnan(before.values[layer, head])), score.key
        if gone:
            assert score.reason(layer, head)
            for grid in (score.low, score.high, score.p):
                assert grid is None or np.isnan(grid[layer, head]), score.key
        elif heads is not None and heads:
            assert score.values[layer, head] == before.values[layer, head]


def _shown(run: Run, how: str) -> None:
    """The CSV has an empty cell and the reason; the page, which is made where there are both, has every reason."""
    rows = list(csv.DictReader(io.StringIO(scores_csv(run.results, run.manifest.model))))
    empty = [row for row in rows if row["value"] == ""]
    assert any("finite" in row["note"] for row in empty)
    for row in empty:
        assert row["note"]
        assert row["low"] == row["high"] == row["p"] == ""
    if how != "values of one head":
        return
    report = build(run)
    shown = html.unescape(page(report))
    for section in report.sections:
        assert section.status in ("done", "skipped")
        assert not section.undrawn, section.undrawn
        assert section.reason in shown
    assert "weights are not finite" in shown
    assert "attention is not finite" in shown


def test_a_finite_self_check_does_not_hide_an_overflow_in_the_prompts(sound: Path) -> None:
    """The guards of the suites look at what they measured, too."""
    from reportgen.errors import NotApplicable
    from reportgen.models.selfcheck import require_finite, require_finite_logits

    model = load(sound, device="cpu")
    require_finite_logits(model)
    require_finite(model, "losses", torch.zeros(3))
    with pytest.raises(NotApplicable, match="losses are not finite: all weights are finite, so activations overflow"):
        require_finite(model, "losses", torch.zeros(3), np.array([0.0, np.inf]))

"""The suite's figures: what is drawn and what the captions say."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportgen import score_files
from reportgen.figures import export
from reportgen.figures.figure import Figure, View
from reportgen.figures.theme import Style
from reportgen.scores import SuiteResult
from reportgen.suites.cognitive.drawing.figures import figures
from tests.figures import samples
from tests.fixtures import model_record

IDS = [
    "cognitive-importance", "cognitive-importance-published", "cognitive-importance-signed", "cognitive-alone",
    "cognitive-decay", "cognitive-masked", "cognitive-ablation",
]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(result: SuiteResult) -> dict[str, Figure]:
    return {figure.id: figure for figure in figures(result, View(model_record(3, 4, synthetic=False)))}


def _layers(figure: Figure) -> dict[str, list[dict[str, Any]]]:
    """Layer name -> its rows."""
    spec = export.spec(figure)
    data = spec.get("datasets", {})
    return {
        layer["name"]: layer["data"]["values"] if "values" in layer["data"] else data[layer["data"]["name"]]
        for layer in spec["layer"]
    }


def test_all_figures(drawn: dict[str, Figure]) -> None:
    assert list(drawn) == IDS
    for figure in drawn.values():
        assert "(3 layers × 4 heads)" in figure.caption
        assert samples.said(figure)
        svg = export.svg(figure, Style())
        assert "NaN" not in svg
        assert len(export.csv(figure).splitlines()) > 5


def test_maps_show_the_size_of_the_own_part(drawn: dict[str, Figure], result: SuiteResult) -> None:
    layers = _layers(drawn["cognitive-importance"])
    cells = layers["cells_down"]
    assert len(cells) == 3 * 12
    for panel, task in (("Place", "place"), ("Sum", "sum")):
        values = result[f"importance_own/{task}"].values
        mine = {row["name"]: row for row in cells if row["panel"] == panel}
        assert mine["L1H2"]["value"] == pytest.approx(abs(float(values[1, 2])), rel=1e-5)
        assert mine["L2H0"]["y"] > mine["L1H0"]["y"] > mine["L0H0"]["y"]  # layer 0 on top
        assert mine["L0H3"]["x"] > mine["L0H0"]["x"]
    marked = sum(int((result[f"importance_own/{t}"].p <= 0.05).sum()) for t in result.tasks("importance_own"))  # type: ignore[operator]
    assert len(layers.get("significant", [])) == marked
    assert f"Dots: {marked} of 36 cells" in drawn["cognitive-importance"].caption
    assert [row["text"] for row in layers["bar_title"]] == ["Heads Importance"]
    assert {row["text"] for row in layers["panel_titles"]} == {"Place", "Color", "Sum"}
    assert all(row["text"].startswith("recall ") for row in layers["panel_subtitles"])


def test_heads_alone_are_shown_from_chance_on(drawn: dict[str, Figure], result: SuiteResult) -> None:
    figure = drawn["cognitive-alone"]
    cells = {(row["panel"], row["name"]): row["value"] for row in _layers(figure)["cells_down"]}
    assert cells["Color", "L2H1"] == pytest.approx(float(result["alone/color"].values[2, 1]), rel=1e-5)
    spec = json.dumps(export.spec(figure))
    assert '"domain": [0.5, ' in spec
    below = sum(int((result[f"alone/{task}"].values < 0.5).sum()) for task in result.tasks("alone"))
    assert (f"; {below} cell" in samples.said(figure)) == (below > 0)


def test_captions_say_what_the_ablation_gave(drawn: dict[str, Figure], result: SuiteResult) -> None:
    said = result.facts["ablation"]
    hurts = said["p"] <= 0.05 and said["contrast"] < 0  # type: ignore[index]
    verb = "hurts its own questions more" if hurts else "does NOT hurt its own questions more"
    assert verb in samples.said(drawn["cognitive-importance"])
    contrast = f"{said['contrast']:+.3f}".replace("-", "\u2212")  # type: ignore[index]
    assert f"heads: {contrast} [" in drawn["cognitive-ablation"].caption


def test_the_signed_map_keeps_the_sign(drawn: dict[str, Figure], result: SuiteResult) -> None:
    values = [row["value"] for row in _layers(drawn["cognitive-importance-signed"])["cells_down"]]
    assert min(values) < 0 < max(values)
    assert min(values) == pytest.approx(
        min(float(result[f"importance_own/{t}"].values.min()) for t in ("place", "color", "sum")), rel=1e-4
    )


def test_decay_curves_fall_and_mark_the_elbow(drawn: dict[str, Figure], result: SuiteResult) -> None:
    rows = [
        row
        for row in drawn["cognitive-decay"].data.rows
        if row[0] == "cognitive/importance_own/sum" and row[1] == "importance"
    ]
    sizes = [float(row[3]) for row in rows]  # type: ignore[arg-type]
    assert sizes == sorted(sizes, reverse=True)
    assert np.allclose(sizes, np.sort(np.abs(result["importance/sum"].values).ravel())[::-1], rtol=1e-5)
    layers = _layers(drawn["cognitive-decay"])
    assert len(layers["dots"]) == sum(n > 0 for n in result.facts["elbow"].values())  # type: ignore[attr-defined]
    assert len({row["line"] for row in layers["lines"] if "level" in row["line"]}) == 3
    assert "no evidence of sparsity" in samples.said(drawn["cognitive-decay"])


def test_masked_curves_start_with_everything_right(drawn: dict[str, Figure]) -> None:
    rows = [row for row in drawn["cognitive-masked"].data.rows if row[2] == 0]
    assert rows
    assert all(row[3] == 1.0 for row in rows)
    assert "3 sets of random heads" in drawn["cognitive-masked"].caption


def test_the_matrix_holds_the_changes(drawn: dict[str, Figure], result: SuiteResult) -> None:
    figure = drawn["cognitive-ablation"]
    assert len(figure.data.rows) == 9
    table = next(t for t in result.tables if t.key == "cognitive/ablation")
    own = {row[0]: row[3] for row in table.rows}
    for row in figure.data.rows:
        if row[0] == row[1]:
            assert row[2] == pytest.approx(own[row[0]], abs=1e-5)
    assert len(_layers(figure)["diagonal"]) == 3


def test_without_a_null_the_caption_says_so(result: SuiteResult) -> None:
    bare = tuple(replace(s, p=None, line=None, no_null="permuted labels were not run") for s in result.scores)
    made = figures(replace(result, scores=bare), View(model_record(3, 4)))
    assert "No family-wise line: permuted labels were not run." in made[0].caption
    assert "significant" not in _layers(made[0])
    assert "SYNTHETIC" in made[0].caption
    assert "watermark" in _layers(made[0])


def test_drawing_a_stored_result_needs_no_torch(result: SuiteResult, tmp_path: Path) -> None:
    for name, content in zip(("meaning", "arrays"), score_files.encode(result), strict=True):
        (tmp_path / name).write_bytes(content)
    code = f"""
import sys
from pathlib import Path
from reportgen import score_files
from reportgen.figures.figure import View
from reportgen.suites.cognitive.drawing.figures import figures
from tests.figures import samples
from tests.fixtures import model_record
folder = Path({json.dumps(str(tmp_path))})
files = [(folder / name).read_bytes() for name in ("meaning", "arrays")]
made = figures(score_files.decode(*files, "x"), View(model_record()))
assert len(made) == 7 and "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

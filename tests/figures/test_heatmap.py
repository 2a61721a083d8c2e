from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from syrupy.assertion import SnapshotAssertion

from reportgen.errors import DataError, SettingsError
from reportgen.figures import chart_data, theme
from reportgen.figures.heatmap import Hatch, array_heatmap, heatmap, pair
from reportgen.figures.theme import Style
from reportgen.scores import HeadScores
from tests.figures import samples
from tests.figures.samples import head_set, layers_of, rows_of


def test_layers_stand_from_cells_to_legends() -> None:
    spec = heatmap(samples.scores(dead=[(0, 1)]), samples.view(synthetic=True), [head_set()], "GPT-2").to_dict()
    names = [layer["name"] for layer in spec["layer"]]
    assert names[:5] == ["cells", "missing", "missing_stroke", "overlay0_halo", "overlay0"]
    assert "legend0_text" in names
    assert "legend0_box" not in names
    assert names[-1] == "watermark"
    assert spec["title"]["text"] == "GPT-2"


def test_axes_are_layer_and_head_with_head_zero_on_top_and_every_tick_shown() -> None:
    spec = heatmap(samples.scores(24, 16)).to_dict()
    for layer in spec["layer"]:
        x, y = layer["encoding"]["x"], layer["encoding"]["y"]
        assert (x["field"], x["title"], x["scale"]["domain"]) == ("layer", "Layer", [-0.5, 23.5])
        assert (y["field"], y["title"], y["scale"]["domain"]) == ("head", "Head", [15.5, -0.5])
        assert x["axis"]["values"] == [*range(0, 21, 2), 23]
        assert y["axis"]["values"] == list(range(16))
    assert spec["config"]["axis"]["labelOverlap"] is False


def test_cells_hold_every_head_with_its_interval_p_and_rank() -> None:
    spec = heatmap(samples.scores(hot={(2, 1): 0.9})).to_dict()
    rows = rows_of(spec, "cells")
    assert len(rows) == 12
    best = next(row for row in rows if row["rank"] == 1)
    assert best["name"] == "L2H1"
    assert (best["value"], best["n"], best["p"]) == (0.9, 40, 0.01)
    colour = layers_of(spec)["cells"]["encoding"]["color"]
    assert colour["scale"] == {"scheme": "viridis", "domain": [0.0, 1.0], "clamp": True}
    tips = [tip["title"] for tip in layers_of(spec)["cells"]["encoding"]["tooltip"]]
    assert tips == ["head", "value", "95 % from", "95 % to", "n", "p (adjusted)", "rank"]


def test_signed_scores_get_a_diverging_scheme_about_zero() -> None:
    spec = heatmap(samples.signed()).to_dict()
    assert layers_of(spec)["cells"]["encoding"]["color"]["scale"] == {
        "scheme": "redblue", "reverse": True, "domain": [-0.4, 0.4], "clamp": True,
    }  # fmt: skip
    assert "0.0" in [row["text"] for row in rows_of(spec, "bar_numbers")]
    safe = heatmap(samples.signed(), style=Style(palette="safe")).to_dict()
    assert layers_of(safe)["cells"]["encoding"]["color"]["scale"]["scheme"] == "purpleorange"


def test_missing_cells_are_hatched_explained_and_in_the_legend() -> None:
    spec = heatmap(samples.scores(dead=[(0, 1), (2, 3)])).to_dict()
    assert len(rows_of(spec, "cells")) == 10
    assert [(row["name"], row["note"]) for row in rows_of(spec, "missing")] == [
        ("L0H1", "inactive head"), ("L2H3", "inactive head"),
    ]  # fmt: skip
    assert layers_of(spec)["missing"]["encoding"]["tooltip"][1]["field"] == "note"
    assert [row["text"] for row in rows_of(spec, "legend0_text")] == ["not computed"]


def test_heads_to_be_read_with_care_are_hatched_and_the_legend_says_why() -> None:
    """Not where a cell has no value; without a hatched head there is no entry."""
    heads = np.zeros((3, 4), np.bool_)
    heads[[0, 0, 2], [1, 2, 3]] = True
    scores = samples.scores(dead=[(0, 1)])
    spec = heatmap(scores, hatch=Hatch(heads, "rests on position 0")).to_dict()
    names = [layer["name"] for layer in spec["layer"]]
    assert names[:5] == ["cells", "missing", "missing_stroke", "hatched_dark", "hatched"]
    assert [(row["layer"], row["head"]) for row in rows_of(spec, "hatched")] == [(0, 2), (2, 3)]
    assert [row["text"] for row in rows_of(spec, "legend0_text")] == ["not computed", "rests on position 0"]
    assert rows_of(spec, "legend0_hatched_lines")
    assert len({tuple(row.items()) for row in rows_of(spec, "cells")}) == 11
    plain = heatmap(scores, hatch=Hatch(heads & False, "rests on position 0"))
    assert plain.to_dict() == heatmap(scores).to_dict()


def test_a_map_of_nothing_but_missing_cells_is_drawn() -> None:
    every = [(lay, h) for lay in range(3) for h in range(4)]
    spec = heatmap(samples.scores(dead=every)).to_dict()
    assert "cells" not in layers_of(spec)
    assert len(rows_of(spec, "missing")) == 12


def test_an_unconfirmed_list_is_hollow_and_says_so() -> None:
    sure, unsure = head_set(), head_set(verified=False)
    plain = layers_of(heatmap(samples.scores(12, 12), overlays=[sure]).to_dict())["overlay0"]["mark"]
    spec = heatmap(samples.scores(12, 12), overlays=[unsure]).to_dict()
    hollow = layers_of(spec)["overlay0"]["mark"]
    assert plain["shape"] != hollow["shape"]
    assert "strokeDash" in hollow
    assert "strokeDash" not in plain
    words = " ".join(row["text"] for row in rows_of(spec, "legend0_text"))
    assert words == "Name-Mover Heads (unconfirmed list)"


def test_a_head_in_two_sets_shows_both_markers_side_by_side() -> None:
    sets = [head_set("a", (2, 1), (0, 0)), head_set("b", (2, 1), legend="Computed on this model (IOI)")]
    spec = heatmap(samples.scores(), overlays=sets).to_dict()
    first, second = rows_of(spec, "overlay0"), rows_of(spec, "overlay1")
    shared, alone = first
    assert (alone["layer"], alone["head"]) == (0, 0)
    assert shared["layer"] < 2 < second[0]["layer"]
    assert shared["size"] < alone["size"]
    assert layers_of(spec)["overlay0"]["mark"]["shape"] != layers_of(spec)["overlay1"]["mark"]["shape"]
    titles = [" ".join(row["text"] for row in rows_of(spec, f"legend{i}_title")) for i in (0, 1)]
    assert titles == [sets[0].legend, sets[1].legend]


@pytest.mark.parametrize("verified", [True, False])
def test_a_smaller_weight_is_a_lighter_colour_on_the_same_halo(verified: bool) -> None:
    heads = [(0, 0), (1, 1), (1, 2), (2, 2), (2, 3)]
    weights = {"L0H0": 0.0, "L1H1": 0.5, "L1H2": 0.75, "L2H2": 0.99}
    for marker in ("star", "x", "square", "dot"):
        mine = replace(head_set("a", *heads, weights=weights, verified=verified), marker=marker)
        spec = heatmap(samples.scores(), overlays=[mine]).to_dict()
        which = "stroke" if marker in ("x", "square") or not verified else "fill"
        lightness = [int(row[which][1:3], 16) for row in rows_of(spec, "overlay0")]
        assert all(np.diff(lightness) <= -12)  # seen one by one, the full one the darkest
        assert lightness[0] <= 0xE4
        assert len({row["stroke"] for row in rows_of(spec, "overlay0_halo")}) == 1
        assert layers_of(spec)["overlay0"]["mark"]["opacity"] == 1
        assert "opacity" not in layers_of(spec)["overlay0"]["encoding"]


def test_a_figures_data_hold_weights_and_shared_ranks() -> None:
    scores = samples.scores(values=np.array([[0.5, 0.5, 0.1, 0.7]] * 3, np.float32))
    weighed = head_set("a", (0, 0), (1, 1), weights={"L0H0": 0.2})
    found = {row["name"]: row for row in chart_data.rows(scores, [weighed, head_set("b", (0, 0))])}
    assert [found[name]["weight"] for name in ("L0H0", "L1H1", "L0H1")] == ["0.2; 1", "1", ""]
    assert [found[f"L0H{i}"]["rank"] for i in range(4)] == [4, 4, 10, 1]


def test_heads_outside_the_grid_are_not_drawn() -> None:
    spec = heatmap(samples.scores(), overlays=[head_set("a", (0, 0), (9, 9)), head_set("b", (50, 0))]).to_dict()
    assert len(rows_of(spec, "overlay0")) == 1
    assert "overlay1" not in layers_of(spec)


def test_what_a_head_is_marked_as_stands_in_its_tooltip() -> None:
    spec = heatmap(samples.scores(), overlays=[head_set("a", (2, 1), verified=False)]).to_dict()
    row = next(row for row in rows_of(spec, "cells") if row["name"] == "L2H1")
    assert row["sets"] == "Name-Mover Heads (wang2022ioi, unconfirmed)"
    assert layers_of(spec)["cells"]["encoding"]["tooltip"][-1]["field"] == "sets"


def test_significance_marks_are_off_unless_asked_for() -> None:
    scores = samples.scores()
    assert "significant" not in layers_of(heatmap(scores).to_dict())
    marked = rows_of(heatmap(scores, significant=True).to_dict(), "significant")
    assert len(marked) == int((scores.p <= 0.05).sum())  # type: ignore[operator]
    line = samples.scores(p=None, line=0.1)
    assert len(rows_of(heatmap(line, significant=True).to_dict(), "significant")) == int((line.values > 0.1).sum())


@pytest.mark.parametrize("synthetic", [False, True])
def test_synthetic_numbers_carry_a_watermark_and_no_others(synthetic: bool) -> None:
    spec = heatmap(samples.scores(), samples.view(synthetic=synthetic)).to_dict()
    assert ("watermark" in layers_of(spec)) is synthetic
    assert ("SYNTHETIC" in json.dumps(spec)) is synthetic


def test_a_pair_has_two_bars_two_titles_and_a_watermark_each() -> None:
    left, right = samples.scores(), samples.signed()
    view = samples.view(synthetic=True)
    spec = pair((left, [head_set()], "left title"), (right, [], "right title"), view).to_dict()
    assert [panel["title"]["text"] for panel in spec["hconcat"]] == ["left title", "right title"]
    assert spec["resolve"]["scale"]["color"] == "independent"
    names = [[layer["name"] for layer in panel["layer"]] for panel in spec["hconcat"]]
    assert all(any(name.startswith("watermark") for name in panel) for panel in names)
    assert not set(names[0]) & set(names[1])
    assert "config" in spec
    assert not any("config" in panel for panel in spec["hconcat"])


def test_eighty_layers_of_sixty_four_heads_are_drawn_in_full() -> None:
    spec = heatmap(samples.scores(80, 64)).to_dict()
    assert len(rows_of(spec, "cells")) == 5120


def test_a_long_title_is_wrapped_not_cut() -> None:
    title = "some-organisation/a-model-with-a-very-long-name-indeed: (Suppression) Name-Copying heads"
    lines = heatmap(samples.scores(12, 12), title=title).to_dict()["title"]["text"]
    assert len(lines) > 1
    assert " ".join(lines) == title


@pytest.mark.parametrize("words", range(3, 9))
def test_in_a_column_a_title_ends_clear_of_its_edges(words: int) -> None:
    title = "SmolLM2-135M-Instruct: " + " ".join(["Country", "to", "capital", "heads", "of", "a", "model", "x"][:words])
    spec = heatmap(samples.scores(30, 9), title=title, style=Style(width_in=3.25)).to_dict()
    lines = spec["title"]["text"]
    widest = max(theme.text_width(line, 10.8) for line in ([lines] if isinstance(lines, str) else lines))
    assert widest / 2 <= spec["width"] / 2 + 10  # the colour bar's last number ends there: the column's edge
    assert 2 * 72 < spec["width"] < 3.25 * 72 - 30


@pytest.mark.parametrize(
    ("style", "said"),
    [
        (Style(cmap="viridris"), r"'viridris'.*viridis"),
        (Style(palette="safer"), r"'safer'.*safe"),
        (Style(legend="insde"), r"'insde'.*inside"),
        (Style(font_size=0), r"4 to 30"),
        (Style(width_in=0.2), r"1 to 40"),
    ],
)
def test_a_style_that_does_not_exist_is_a_users_error(style: Style, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        heatmap(samples.scores(), style=style)


def test_a_plain_array_with_named_overlays() -> None:
    values = np.array([[0.1, math.nan], [-0.3, 0.2]])
    spec = array_heatmap(values, overlays={"Mine": ["L1H0", (0, 0)]}, label="Effect", title="T").to_dict()
    assert [(row["layer"], row["head"]) for row in rows_of(spec, "overlay0")] == [(1, 0), (0, 0)]
    assert rows_of(spec, "bar_label")[0]["text"] == "Effect"
    assert layers_of(spec)["cells"]["encoding"]["color"]["scale"]["domain"] == [-0.3, 0.3]
    assert "n" not in rows_of(spec, "cells")[0]


@pytest.mark.parametrize("heads", [["H1L2"], [(1,)], [None]])
def test_an_array_with_unreadable_heads_says_how_to_write_them(heads: list[object]) -> None:
    with pytest.raises(DataError, match=r"overlay 'Mine'.*L9H6"):
        array_heatmap(np.zeros((2, 2)), overlays={"Mine": heads})  # type: ignore[dict-item]


def test_an_array_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"\[layer head\]"):
        array_heatmap(np.zeros(3))


def test_the_specification_of_a_small_map(snapshot: SnapshotAssertion) -> None:
    sets = [head_set("a", (2, 1)), head_set("b", (2, 1), (0, 0), label="Mine", legend="Mine", verified=False)]
    spec = heatmap(samples.scores(3, 4, dead=[(0, 3)]), samples.view(), sets, "GPT-2: a small map").to_dict()
    spec.pop("config")
    assert spec == snapshot


def test_exact_cells_among_estimates_carry_a_corner_and_none_is_grey() -> None:
    scores = samples.estimated()
    spec = heatmap(scores, samples.view()).to_dict()
    corners = [(row["layer"], row["head"]) for row in rows_of(spec, "exact")]
    assert corners == [(-0.5, head - 0.5) for head in range(4)]
    assert "missing" not in layers_of(spec)
    words = [row["text"] for name in layers_of(spec) if name.endswith("_text") for row in rows_of(spec, name)]
    assert " ".join(words) == "exact estimated by attribution"
    rows = {row["name"]: row for row in rows_of(spec, "cells")}
    assert (rows["L2H3"]["note"], rows["L2H3"]["rank"], rows["L2H3"]["p"]) == (scores.how_estimated, None, None)
    assert (rows["L0H0"]["note"], rows["L0H0"]["rank"]) == ("", 4)
    plain = heatmap(samples.signed(), samples.view()).to_dict()
    assert "exact" not in layers_of(plain)
    assert "note" not in rows_of(plain, "cells")[0]


def test_no_estimate_is_marked_as_beyond_the_null() -> None:
    scores = samples.estimated()
    line = HeadScores(scores.key, scores.label, scores.values, 200, line=-1.0, estimated=scores.estimated,
                      estimator="attribution")  # fmt: skip
    for each in (scores, line):
        beyond = rows_of(heatmap(each, samples.view(), significant=True).to_dict(), "significant")
        assert {row["layer"] for row in beyond} == {0}

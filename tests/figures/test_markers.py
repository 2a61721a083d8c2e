"""One class of heads has one marker in all figures of a run."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from reportgen.errors import DataError
from reportgen.figures import export
from reportgen.figures.chart_data import table
from reportgen.figures.heatmap import heatmap, pair
from reportgen.figures.markers import COLOURS, MARKERS, marker_of, styled, words_of
from reportgen.published import load_user, sets_for
from reportgen.scores import HeadSet
from tests.figures import samples
from tests.figures.samples import head_set


def computed(key: str, label: str = "Heads") -> HeadSet:
    return HeadSet(key, label, ((2, 1),), "Computed", "computed: this model", "rule")


def look(head_set: HeadSet) -> tuple[str, str]:
    return head_set.marker, head_set.color


def test_name_movers_are_crosses_and_backups_dots_as_published() -> None:
    looks = {s.key.rsplit("/", 1)[-1]: look(s) for s in styled(sets_for("gpt2"))}
    assert looks["name_mover_heads"] == ("x", "")
    assert looks["backup_name_mover_heads"] == ("dot", "")
    assert looks["negative_name_mover_heads"] != looks["name_mover_heads"]


def test_no_two_classes_of_a_run_look_alike() -> None:
    sets = styled([*sets_for("gpt2"), *(computed(f"circuits/ioi/{name}") for name in ("name_movers", "backups"))])
    looks = [look(s) for s in sets]
    assert len(set(looks)) == len(looks)


def test_a_class_has_one_look_in_every_task_and_whatever_stands_before_it() -> None:
    tasks = [computed(f"circuits/{task}/{name}") for task, name in (("ioi", "name_movers"), ("capitals", "movers"))]
    assert look(styled(tasks)[0]) == look(styled(tasks)[1])
    reused = computed("circuits/reuse/reused")
    for before in ([], tasks, [computed("circuits/ioi/taking_over"), *tasks]):
        assert look(styled([*before, reused])[-1]) == ("diamond", "")


def test_the_panels_of_a_pair_draw_a_class_alike() -> None:
    reused, mover = computed("circuits/reuse/reused"), computed("circuits/ioi/name_movers")
    mine = head_set("mine", (0, 0), key="user/a/mine", kind="user")
    spec = pair((samples.scores(), [mover, reused, mine], ""), (samples.scores(), [reused, mine], "")).to_dict()
    shapes = [
        {layer["name"].split("_")[0]: layer["mark"]["shape"] for layer in panel["layer"]
         if re.fullmatch(r"overlay\d(_\d)?", layer["name"])}
        for panel in spec["hconcat"]
    ]  # fmt: skip
    assert shapes[0]["overlay1"] == shapes[1]["overlay0"]
    assert shapes[0]["overlay2"] == shapes[1]["overlay1"]
    assert len(set(shapes[0].values())) == 3


def test_a_view_gives_its_sets_their_markers_once() -> None:
    view = samples.view(sets=[computed("circuits/ioi/taking_over"), computed("circuits/ioi/name_movers")])
    assert [s.marker for s in view.overlays] == ["plus", "x"]
    assert [look(s) for s in styled(view.overlays)] == [look(s) for s in view.overlays]


def test_a_marker_and_colour_that_are_given_stay_and_are_given_to_no_other() -> None:
    mine = replace(head_set("m", key="user/a/m", kind="user"), marker="x", color="")
    own, mover = styled([mine, computed("circuits/ioi/name_movers")])
    assert look(own) == ("x", "")
    assert mover.marker == "x"
    assert mover.color == COLOURS[1]
    assert words_of(mover) == "orange crosses"
    assert marker_of(mover).stroke == COLOURS[1]


def test_many_classes_still_differ() -> None:
    sets = styled([head_set(f"c{i}", key=f"user/f/c{i}", kind="user") for i in range(len(MARKERS) * len(COLOURS))])
    assert len({look(s) for s in sets}) == len(sets)


def overlay_file(folder: Path, *entries: str) -> Path:
    path = folder / "my_heads.toml"
    text = "".join(f'[[entry]]\nclass = "C{i}"\nheads = ["L0H0"]\n{entry}\n' for i, entry in enumerate(entries))
    path.write_text(text, encoding="utf-8")
    return path


def test_an_overlay_file_fixes_marker_and_colour(tmp_path: Path) -> None:
    (mine,) = load_user(overlay_file(tmp_path, 'marker = "star"\ncolor = "#1B9E77"'))
    assert look(mine) == ("star", "#1b9e77")
    assert mine.legend == "Marked heads"
    (drawn,) = samples.rows_of(heatmap(samples.scores(), overlays=[mine]).to_dict(), "overlay0")
    assert drawn["fill"] == "#1b9e77"
    assert words_of(mine) == "stars in #1b9e77"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (['marker = "sqare"'], r"entry 1 \(C0\).*'sqare'.*square"),
        (['color = "red"'], r"entry 1 \(C0\).*'red'.*#d55e00"),
        (['marker = "x"', 'marker = "x"'], r"two classes .* marker 'x'"),
    ],
)
def test_a_marker_that_there_is_not_is_refused(entries: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        load_user(overlay_file(tmp_path, *entries))


def test_paler_markers_are_explained_in_the_legend() -> None:
    weighed = replace(computed("circuits/ioi/name_movers"), weights={"L2H1": 0.5})
    spec = heatmap(samples.scores(), overlays=[weighed]).to_dict()
    assert [row["text"] for row in samples.rows_of(spec, "legend0_text")] == ["Heads", "paler: found less often"]
    full, pale = samples.rows_of(spec, "legend0_symbol1")
    assert full["layer"] < pale["layer"]
    (own,) = {row["stroke"] for row in samples.rows_of(spec, "overlay0")} - {"#000000"}
    assert (full["stroke"], pale["stroke"]) == ("#000000", own)
    assert full["size"] == pale["size"]
    assert len(samples.rows_of(spec, "legend0_symbol0")) == 1
    plain = heatmap(samples.scores(), overlays=[computed("circuits/ioi/name_movers")]).to_dict()
    assert [row["text"] for row in samples.rows_of(plain, "legend0_text")] == ["Heads"]


def test_the_sample_of_paler_markers_is_the_palest_classs_own() -> None:
    movers = replace(computed("circuits/ioi/name_movers"), weights={"L2H1": 0.9})
    over = replace(computed("circuits/ioi/taking_over"), heads=((1, 1), (1, 2)), weights={"L1H1": 0.3})
    backups = replace(computed("circuits/ioi/backups"), heads=((0, 2),))  # grey at full weight
    spec = heatmap(samples.scores(), overlays=[movers, backups, over]).to_dict()
    sample = samples.layers_of(spec)["legend0_symbol3"]
    assert sample["mark"]["shape"] == samples.layers_of(spec)["overlay2"]["mark"]["shape"]
    assert samples.rows_of(spec, "legend0_symbol3")[1]["stroke"] == samples.rows_of(spec, "overlay2")[0]["stroke"]


@pytest.mark.parametrize("shape", [(30, 9), (18, 4), (4, 32), (12, 12)])
def test_the_titles_of_a_pair_stand_at_one_height(shape: tuple[int, int]) -> None:
    """Also where the bar of one panel has its last number at its very top and that of the other has not."""
    one, other = samples.scores(*shape), samples.scores(*shape, label="A long label of a bar", range=(0.0, 0.9))
    chart = pair((one, (), "Left of two"), (other, (), "Right of two"))
    assert len(set(_heights(export.svg(samples.figure(chart, table([(one, ())])))))) == 1


def _heights(svg: str) -> list[float]:
    """The distance of every title's group from the top of the drawing."""
    found: list[float] = []

    def walk(element: ET.Element, y: float) -> None:
        moved = re.match(r"translate\(-?[\d.]+[, ](-?[\d.]+)\)", element.get("transform", ""))
        y += float(moved[1]) if moved else 0.0
        if (element.text or "").endswith("of two") and element.tag.endswith("text"):
            found.append(round(y, 1))
        for child in element:
            walk(child, y)

    walk(ET.fromstring(svg), 0.0)
    assert len(found) == 2
    return found

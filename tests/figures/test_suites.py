"""The figures of the suites relations, attention and circuits, from made-up results."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from reportgen.figures import export
from reportgen.figures.figure import Figure
from reportgen.published import sets_for
from reportgen.scores import HeadScores, HeadSet, HeldOut, SuiteResult
from reportgen.suites.attention.drawing import figures as attention_figures
from reportgen.suites.attention.suite import SUITE as ATTENTION
from reportgen.suites.circuits.drawing.figures import figures as circuit_figures
from reportgen.suites.relations.drawing.figures import figures as relation_figures
from tests.figures import samples

SIZE = (12, 12)
FACTS = {
    "tau": 0.15,
    "relations": {
        "name_copying": {
            "title": "Name copying", "k": 1,
            "copier": {"embedding": {"score": 0.41, "suppression": 0.0}, "first_mlp": None},
            "twin": {"max": 0.05}, "matched": None,
        },
        "country_to_capital": {"title": "Country to capital", "k": 10},
    },
}  # fmt: skip


def relations(facts: dict[str, Any] | None = None) -> SuiteResult:
    keys = ("score/name_copying", "suppression/name_copying", "score/country_to_capital")
    first, *others = (samples.scores(*SIZE, key=f"relations/{key}", label="as stored") for key in keys)
    if facts is None:
        first = replace(first, held_out=HeldOut("L9H6", 0.98, 0.9, 1.0, 20))
    return SuiteResult("relations", (first, *others), facts=FACTS if facts is None else facts)


def computed(name: str, *heads: tuple[int, int]) -> HeadSet:
    return HeadSet(f"circuits/ioi/{name}", name, heads, "Computed on this model (IOI)", "computed: IOI", "rule")


def drawn(figure: Figure) -> str:
    return json.dumps(export.spec(figure), ensure_ascii=False)


def words(figure: Figure, panel: int, layer: str) -> list[str]:
    spec = export.spec(figure)
    part = spec["hconcat"][panel] if "hconcat" in spec else spec
    found = [part_layer for part_layer in part["layer"] if part_layer["name"].startswith(layer)]
    return [row["text"] for one in found for row in samples.values_of(spec, one)]


def test_the_pairs_stand_first_under_their_ids() -> None:
    made = relation_figures(relations(), samples.view(*SIZE))
    assert [figure.id for figure in made] == [
        "relations-name_copying-suppression",
        "relations-name_copying-country_to_capital",
        "relations-name_copying",
        "relations-country_to_capital",
    ]
    only = replace(relations(), scores=relations().scores[2:])
    assert [figure.id for figure in relation_figures(only, samples.view(*SIZE))] == ["relations-country_to_capital"]


def test_the_gpt2_pair_is_laid_out_as_published() -> None:
    view = samples.view(*SIZE, sets=sets_for("openai-community/gpt2"))
    figure = relation_figures(relations(), view)[0]
    panels = export.spec(figure)["hconcat"]
    assert [panel["title"]["text"] for panel in panels] == [
        "GPT-2: Name-Copying heads",
        "GPT-2: (Suppression) Name-Copying heads",
    ]
    assert words(figure, 0, "bar_label") == ["Name Copying score"]
    assert words(figure, 1, "bar_label") == ["(Suppression) Name Copying score"]
    assert words(figure, 0, "bar_numbers") == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    title = "'Interp. in the Wild' classifications"
    assert [" ".join(words(figure, i, "legend0_title")) for i in (0, 1)] == [title, title]
    assert words(figure, 0, "legend0_text") == ["Name-Mover Heads", "Backup Name-Mover Heads"]
    assert " ".join(words(figure, 1, "legend0_text")) == (
        "(Negative) Name-Mover Heads Backup (Negative) Name-Mover Heads (unconfirmed list)"
    )
    marks = {
        layer["name"]: samples.values_of(export.spec(figure), layer)[0]
        for layer in panels[0]["layer"]
        if layer["name"][:7] == "overlay"
    }
    assert marks["overlay0_0"]["stroke"] == "#000000"  # the black x
    assert marks["overlay0_0"]["fill"] == "transparent"
    assert marks["overlay1_0"]["fill"] == "#8c8c8c"  # the grey dot


def test_the_gpt2_medium_pair_marks_movers_and_no_capital_heads() -> None:
    scores = tuple(samples.scores(24, 16, key=s.key) for s in relations().scores)
    view = samples.view(24, 16, sets=sets_for("gpt2-medium"), hub_id="gpt2-medium")
    figure = relation_figures(replace(relations(), scores=scores), view)[1]
    assert [panel["title"]["text"] for panel in export.spec(figure)["hconcat"]] == [
        "GPT-2 medium: Name Copying heads",
        "GPT-2 medium: Country to capital heads",
    ]
    assert " ".join(words(figure, 0, "legend0_title")) == "'Circuits Components Reused' classifications"
    assert " ".join(words(figure, 0, "legend0_text")) == "Mover Heads (unconfirmed list)"
    assert words(figure, 1, "bar_label") == ["Country to capital score"]
    assert words(figure, 1, "legend") == []
    assert [s.key for s in figure.head_sets] == ["published/merullo2023reuse/mover_heads"]


def test_computed_sets_stand_beside_published_ones_with_their_agreement() -> None:
    sets = [*sets_for("gpt2"), computed("name_movers", (9, 9), (9, 6)), computed("negative_movers", (10, 7))]
    figure = relation_figures(relations(), samples.view(*SIZE, sets=sets))[0]
    assert "Name-Mover Heads: 2 of 3 agree with the 2 computed here" in samples.said(figure)
    assert "(Negative) Name-Mover Heads: 1 of 2 agree with the 1 computed here" in samples.said(figure)
    assert words(figure, 0, "legend1_title") == ["Computed on this model (IOI)"]


def test_captions_and_notes_say_what_the_numbers_are() -> None:
    made = relation_figures(relations(), samples.view(*SIZE))
    for words_ in (
        "Name Copying score of every head of GPT-2 (12 layers × 12 heads)",
        "n = 40 pairs",
        "beat the null",
        "on held-out pairs: L9H6 at 0.980 [0.900, 1.000] (n = 20).",
    ):
        assert words_ in made[2].caption
    for words_ in (
        "share of a relation's n pairs whose target is among the top k entries",
        "Name Copying score: n = 40 pairs, target the top entry",
        "heads at τ = 0.15 or above",
        "on one half of the pairs and measured on the other: L9H6 at 0.980 [0.900, 1.000] (n = 20)",
        "an ideal copier of the embedding 0.410, the highest head of a randomly initialised twin 0.050",
        "may only copy",
    ):
        assert words_ in samples.said(made[2])
    assert "among the top 10 entries" in samples.said(made[3])
    assert "lowest entry" in samples.said(made[0])


def test_a_run_without_facts_is_still_drawn() -> None:
    made = relation_figures(relations(facts={}), samples.view(*SIZE))
    assert len(made) == 4
    assert "τ" not in samples.said(made[2])


def test_synthetic_runs_say_so_in_every_caption_and_figure() -> None:
    made = relation_figures(relations(), samples.view(*SIZE, synthetic=True))
    made += attention_figures(attention(), samples.view(*SIZE, synthetic=True))
    made += circuit_figures(circuits(), samples.view(*SIZE, synthetic=True))
    assert all("SYNTHETIC" in figure.caption for figure in made)
    for figure in made:
        panels = range(len(export.spec(figure).get("hconcat", "1")))
        assert [words(figure, panel, "watermark") for panel in panels] == [["SYNTHETIC"]] * len(panels)
    plain = relation_figures(relations(), samples.view(*SIZE))
    assert not any("SYNTHETIC" in figure.caption + drawn(figure) for figure in plain)


def test_the_users_own_heads_are_on_every_score_map() -> None:
    user = samples.head_set("mine", (0, 0), key="user/mine/a", label="My heads", legend="'mine'", kind="user")
    view = samples.view(*SIZE, sets=[user])
    made = [
        *relation_figures(relations(), view), *attention_figures(attention(), view), *circuit_figures(circuits(), view),
    ]  # fmt: skip
    made = [figure for figure in made if figure.id != "relations-published"]  # no map
    assert len(made) == 11
    assert all("My heads" in drawn(figure) and "My heads" in samples.said(figure) for figure in made)
    assert all([s.key for s in figure.head_sets] == ["user/mine/a"] for figure in made)


def test_the_data_of_a_pair_tells_its_panels_apart() -> None:
    sets = sets_for("gpt2")
    data = relation_figures(relations(), samples.view(*SIZE, sets=sets))[0].data
    rows = [dict(zip([c.name for c in data.columns], row, strict=True)) for row in data.rows]
    assert len(rows) == 2 * 144
    marked = {(row["key"], row["name"]) for row in rows if row["sets"]}
    assert ("relations/score/name_copying", "L9H9") in marked
    assert ("relations/suppression/name_copying", "L9H9") not in marked
    assert ("relations/suppression/name_copying", "L10H7") in marked


def attention() -> SuiteResult:
    scores = tuple(
        samples.scores(*SIZE, key=f"attention/{m.name}/repeated_tokens", label=m.title) for m in ATTENTION.measures
    )
    facts = {"lags": [13, 17], "base_rates": {"induction": 0.031}, "null": {"induction": "block lengths permuted"}}
    return SuiteResult("attention", scores, facts=facts)


def test_attention_has_a_map_per_measure_with_its_named_heads() -> None:
    made = {figure.id: figure for figure in attention_figures(attention(), samples.view(*SIZE, sets=sets_for("gpt2")))}
    assert list(made) == [
        "attention-previous_token", "attention-current_token", "attention-first_token", "attention-duplicate_token",
        "attention-induction", "attention-entropy",
    ]  # fmt: skip
    induction = made["attention-induction"]
    assert [s.label for s in induction.head_sets] == ["Induction Heads"]
    assert "scores 0.031." in samples.said(induction)
    assert "blocks of 13, 17 tokens" in samples.said(induction)
    assert [s.source for s in made["attention-previous_token"].head_sets] == ["wang2022ioi", "garcia2024acronyms"]
    assert made["attention-entropy"].head_sets == ()


def circuits() -> SuiteResult:
    values = np.zeros(SIZE, np.float32)
    values[9, 9], values[10, 7] = 0.31, -0.27
    scores = HeadScores("circuits/direct/ioi", "Direct effect", values, 200, no_null="not drawn",
                        low=values - np.float32(0.01), high=values + np.float32(0.01))  # fmt: skip
    facts = {
        "title": "Indirect object identification", "gap": 6.5, "n_circuit": 8, "effect_share": 0.02, "alpha": 0.05,
        "top_head": {"head": "L9H9", "effect": 0.3, "low": 0.27, "high": 0.33},
        "knock_out": {"heads": ["L9H9"], "accuracy_before": 0.99, "accuracy_after": 0.93},
    }  # fmt: skip
    return SuiteResult("circuits", (scores,), facts={"tasks": {"ioi": facts}})


def test_circuits_has_a_diverging_map_with_movers_of_both_signs_and_backups() -> None:
    sets = [*sets_for("gpt2"), computed("name_movers", (9, 9)), computed("negative_movers", (10, 7)),
            computed("backups", (9, 0)), computed("direct", (0, 0))]  # fmt: skip
    (figure,) = circuit_figures(circuits(), samples.view(*SIZE, sets=sets))
    assert figure.id == "circuits-ioi"
    spec = export.spec(figure)
    scale = samples.layers_of(spec)["cells"]["encoding"]["color"]["scale"]
    assert scale["domain"] == [-0.4, 0.4]
    assert "0.0" in words(figure, 0, "bar_numbers")
    assert words(figure, 0, "legend0_text") == [
        "Name-Mover Heads", "(Negative) Name-Mover Heads", "Backup Name-Mover Heads",
    ]  # fmt: skip
    assert words(figure, 0, "legend1_text") == ["name_movers", "negative_movers", "backups"]
    for said in ("n = 200 prompts", "Largest, held out: L9H9 at 0.300 [0.270, 0.330]", "No null line"):
        assert said in figure.caption
    for said in (
        "The gap of Indirect object identification is 6.500 logits.",
        "Highest: L9H9 at 0.310 [0.300, 0.320]; lowest: L10H7 at −0.270",
        "8 heads with |effect| ≥ 2 % of the gap",
        "measured on the other half",
        "from 99 % to 93 %",
    ):
        assert any(said in note for note in figure.notes), said


def test_a_task_the_model_does_not_do_has_no_map() -> None:
    assert circuit_figures(SuiteResult("circuits", facts={"tasks": {"ioi": {}}}), samples.view()) == []

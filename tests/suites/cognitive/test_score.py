"""The whole suite on a tiny model, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from reportgen import score_files
from reportgen.errors import DataError, NotApplicable, SettingsError
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import SuiteResult, head_name
from reportgen.suites.base import Context
from reportgen.suites.cognitive.facts import CognitiveFacts
from reportgen.suites.cognitive.scoring import dataset, prompts, results, score
from reportgen.suites.cognitive.scoring.ablation_tests import AblationVerdict
from reportgen.suites.cognitive.scoring.per_head_probe import NEAR
from reportgen.suites.cognitive.suite import SUITE, preset
from reportgen.suites.facts import encoded, read
from tests.suites.cognitive import toy

QUICK = {"seeds": 1, "most_steps": 20, "permutations": 0, "random_sets": 2, "curve_sets": 2, "resamples": 50}


def _run(model: Model, **given: object) -> SuiteResult:
    return SUITE.load_score()(model, SUITE.make_settings("quick", {**QUICK, **given}), Context(seed=0, threads=1))


def test_every_measure_of_every_function(result: SuiteResult) -> None:
    assert result.tasks("importance_own") == ["place", "color", "sum"]
    for measure in ("importance_own", "importance", "importance_layer", "importance_bias"):
        for task in result.tasks(measure):
            scores = result[f"{measure}/{task}"]
            assert scores.values.shape == (3, 4)
            assert scores.n == 9  # selection rows
            assert scores.low is not None
            assert scores.high is not None
            assert (scores.low <= scores.values + 1e-6).all()
            assert (scores.values <= scores.high + 1e-6).all()
            assert (scores.p is not None) == (measure in ("importance_own", "importance"))
            assert bool(scores.no_null) == (scores.p is None)


def test_parts_add_up(result: SuiteResult) -> None:
    for task in result.tasks("importance"):
        own, layer, bias = (result[f"importance_{part}/{task}"].values for part in ("own", "layer", "bias"))
        assert np.allclose(result[f"importance/{task}"].values, own + layer + bias, atol=1e-6)


def test_values_are_means_over_the_stored_examples(result: SuiteResult) -> None:
    examples = result.arrays["importance_own"]
    rows = {row["id"]: row for row in _identified(toy.rows())}
    for task in result.tasks("importance_own"):
        label = result.facts["functions"][task]  # type: ignore[index]
        mine = [i for i, name in enumerate(examples.labels["example"]) if rows[name]["function"] == label]
        assert np.allclose(examples.values[mine].mean(0), result[f"importance_own/{task}"].values, atol=1e-6)


def _identified(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{**row, "id": f"row{i}"} for i, row in enumerate(rows, 1)]


def test_p_the_line_and_the_head_sets_agree(result: SuiteResult) -> None:
    sets = {s.key: s for s in result.head_sets}
    assert len(sets) == 6
    for task in result.tasks("importance_own"):
        scores = result[f"importance_own/{task}"]
        assert scores.p is not None
        assert scores.line is not None
        assert scores.p_each is not None
        assert (scores.p_each <= scores.p + 1e-6).all()  # alone a head's p is never larger than in the family
        assert (scores.p_each < scores.p - 1e-3).any()
        beyond = scores.p <= 0.05
        assert (beyond == (np.abs(scores.values) > scores.line)).all()
        members = sets[f"cognitive/{task}/line"]
        assert sorted(members.heads) == sorted(map(tuple, np.argwhere(beyond).tolist()))
        leading = sets[f"cognitive/{task}/leading"]
        assert [head_name(*h) for h in leading.heads] == result.facts["ablation"]["sets"][toy_label(result, task)]  # type: ignore[index]
        assert leading.heads == (scores_top(scores.values),)
        assert leading.evidence["causal effect"] == "not run"  # too few random sets for a claim


def toy_label(result: SuiteResult, task: str) -> str:
    return str(result.facts["functions"][task])  # type: ignore[index]


def scores_top(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> tuple[int, int]:
    layer, head = np.unravel_index(np.abs(values).argmax(), values.shape)
    return int(layer), int(head)


def test_the_result_is_stored_and_read_back(result: SuiteResult) -> None:
    again = score_files.decode(*score_files.encode(result), "memory")
    assert [s.key for s in again.scores] == [s.key for s in result.scores]
    assert again.facts["accuracy"] == result.facts["accuracy"]
    assert again.tables == tuple(again.tables)
    assert set(again.arrays) == set(result.arrays)


def test_the_report_says_whether_the_probe_beats_the_surface(result: SuiteResult) -> None:
    """Every question of the toy set gives its function away: the probe can at best be as good."""
    assert result.facts["margin"]["above"] is False  # type: ignore[index]
    assert any("NOT above every surface baseline" in note for note in result.notes)
    accuracy = next(table for table in result.tables if table.key == "cognitive/accuracy")
    assert "NOT above" in accuracy.caption
    rows = {row[0]: row for row in accuracy.rows}
    assert rows["naive Bayes on the sub-question's words"][1] == 1.0
    assert rows["the most frequent function"][1] == pytest.approx(1 / 3)


def test_the_report_says_what_the_causal_check_gave(result: SuiteResult) -> None:
    said = result.facts["ablation"]
    hurts = said["p"] <= 0.05 and said["contrast"] < 0  # type: ignore[index]
    note = next(note for note in result.notes if note.startswith("Causal check"))
    assert note.startswith("Causal check: positive" if hurts else "Causal check: NEGATIVE.")
    assert f"{said['contrast']:+.3f} nats" in note  # type: ignore[index]


def test_a_check_that_shows_nothing_is_called_negative(result: SuiteResult) -> None:
    judged = AblationVerdict(np.zeros((3, 3)), (), True, -0.007, -0.047, 0.026, 0.74)
    scored = SimpleNamespace(settings=SUITE.make_settings("quick"))
    assert "NEGATIVE" in results._causal(scored, judged)  # type: ignore[arg-type]
    positive = replace(judged, p=0.01, contrast=-0.4)
    assert "positive" in results._causal(scored, positive)  # type: ignore[arg-type]
    wrong_way = replace(judged, p=0.01, contrast=0.4)
    assert "NEGATIVE" in results._causal(scored, wrong_way)  # type: ignore[arg-type]


def test_each_head_alone(result: SuiteResult) -> None:
    stored = np.asarray(result.arrays["alone"].values)  # [test_example layer head function]
    assert np.allclose(np.exp(stored).sum(-1), 1, atol=1e-4)
    label = np.asarray(result.arrays["ablation/function"].values)
    for c, task in enumerate(result.tasks("alone")):
        scores = result[f"alone/{task}"]
        mine, rest = stored[label == c][..., c], stored[label != c][..., c]
        above = np.clip(0.5 + (mine[:, None] - rest[None]) / (2 * NEAR), 0, 1).mean((0, 1))
        assert np.allclose(scores.values, above, atol=1e-5)
        assert scores.p is not None
    beyond = result.facts["alone"]["beyond"]  # type: ignore[index]
    assert beyond["Place"] == int((result["alone/place"].p <= 0.05).sum())  # type: ignore[operator]


def test_shared_heads_are_counted_for_both_kinds_of_set(result: SuiteResult) -> None:
    table = next(t for t in result.tables if t.key == "cognitive/overlap")
    assert len(table.rows) == 3
    sets = {s.key: set(s.heads) for s in result.head_sets}
    task_of = {label: task for task, label in result.facts["functions"].items()}  # type: ignore[attr-defined]
    for first, second, leading, _, _, _, beyond, expected, p, _ in table.rows:
        a, b = (f"cognitive/{task_of[name]}" for name in (first, second))
        assert leading == len(sets[f"{a}/leading"] & sets[f"{b}/leading"])
        both = sets[f"{a}/line"], sets[f"{b}/line"]
        assert beyond == len(both[0] & both[1])
        by_layer = sum(
            len({h for h in both[0] if h[0] == at}) * len({h for h in both[1] if h[0] == at}) for at in range(3)
        )
        assert expected == pytest.approx(by_layer / 4)
        assert 0 <= p <= 1


def test_head_outputs_in_the_residual_stream(model_of: Callable[[str], Model], tmp_path: Path) -> None:
    data = str(toy.write(tmp_path / "toy.jsonl", toy.rows(36)))
    z, wide = (_run(model_of("gpt2"), data=data, hook=hook) for hook in ("z", "result"))
    assert wide.facts["hook"] == "result"
    assert not np.allclose(z.scores[0].values, wide.scores[0].values)
    assert np.array_equal(z.arrays["output_norm"].values, wide.arrays["output_norm"].values)


def test_facts_are_read_back_and_every_array_is_documented(result: SuiteResult) -> None:
    stored = score_files.decode(*score_files.encode(result), "memory")
    assert encoded(read(stored, CognitiveFacts)) == stored.facts  # every stored key is a field
    for name in result.arrays:
        assert name.split("/")[0] in (score.__doc__ or ""), f"{name} is not documented"


def test_a_second_run_reads_the_features_from_the_cache(
    model_of: Callable[[str], Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(toy.write(tmp_path / "toy.jsonl", toy.rows(36)))
    first = _run(model_of("gpt2"), data=data)
    monkeypatch.setattr(prompts, "head_outputs", None)
    again = _run(model_of("gpt2"), data=data)
    assert np.array_equal(first.scores[0].values, again.scores[0].values)
    assert "permutations = 0" in first.scores[0].no_null
    with pytest.raises(TypeError):
        _run(model_of("gpt2"), data=data, site="token")  # other sites, other features


@pytest.mark.parametrize("name", ["paper", "code"])
def test_published_presets_run(
    name: str, model_of: Callable[[str], Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One epoch of the small probe stands for a hundred of the large one."""
    short = {"epochs": 1, "proj": 4, "hidden": 6}
    monkeypatch.setattr("reportgen.suites.cognitive.suite.preset", lambda n: _shortened(n, short))
    data = str(toy.write(tmp_path / "toy.jsonl", toy.rows(36)))
    found = _run(model_of("gpt2"), data=data, preset=name, min_per_class=8)
    assert found.facts["rule"] == "elbow"
    assert found.facts["ablation_how"] == "scale"
    assert found.facts["generated"]["n"] > 50  # type: ignore[index]
    assert found.facts["probe"]["steps"] == sum(  # type: ignore[index]
        counts["train"]
        for counts in found.facts["data"]["counts"].values()  # type: ignore[index]
    )
    own = {s.key: s for s in found.head_sets}
    assert all(s.key.endswith("leading") and "elbow" in s.rule for s in own.values())
    assert f"preset {name}" in found.scores[0].no_null
    assert f"preset {name}" in found["alone/place"].no_null
    assert found.facts["prompt"] == "plain"  # its tokenizer has no words for the published one, and the report says so
    assert any("prompt (cogqa) are unknown here: the plain one instead" in note for note in found.notes)


def _shortened(name: str, changes: dict[str, object]) -> object:
    return replace(preset(name), **changes)  # type: ignore[arg-type]


def test_grouped_queries_and_wide_heads(model_of: Callable[[str], Model], tmp_path: Path) -> None:
    data = str(toy.write(tmp_path / "toy.jsonl", toy.rows(36)))
    found = _run(model_of("qwen3"), data=data, layer_mean=False)
    assert found.scores[0].values.shape == (3, 4)
    assert found.tasks("importance_layer") == []
    assert any("layer_mean" in n.why for n in found.not_computed)


def test_a_head_that_writes_nothing_is_not_scored(tmp_path: Path) -> None:
    folder = toy.folder(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["transformer.h.1.attn.c_proj.weight"][16:24] = 0  # rows of head 2, d_head 8
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    data = str(toy.write(tmp_path / "toy.jsonl", toy.rows(36)))
    found = _run(load(folder, device="cpu"), data=data, permutations=99, heads_removed=3)
    for scores in found.scores:
        assert np.isnan(scores.values[1, 2])
        assert scores.reason(1, 2).startswith("inactive")
        assert np.isfinite(scores.values).sum() == 11
    assert all((1, 2) not in s.heads for s in found.head_sets)
    assert score_files.decode(*score_files.encode(found), "memory").facts["norm_correlation"] is not None


def test_a_set_of_unknown_words_is_not_scored(model_of: Callable[[str], Model]) -> None:
    with pytest.raises(NotApplicable, match=r"either bundled set are unknown to this tokenizer; give your own rows"):
        _run(model_of("gpt2"))
    with pytest.raises(NotApplicable, match="tokens of english are unknown"):
        _run(model_of("gpt2"), data="english")


def test_rows_too_long_for_the_context_are_counted(model_of: Callable[[str], Model], tmp_path: Path) -> None:
    rows = toy.rows(36)
    for row in rows[:12]:
        row["question"] = "the book is in the house and " * 12
    data = str(toy.write(tmp_path / "toy.jsonl", rows))
    about = _run(model_of("gpt2"), data=data).facts["data"]
    assert about["too_long"] == 12  # type: ignore[index]
    assert about["rows"] == 96  # type: ignore[index]
    for row in rows:
        row["question"] = "the book is in the house and " * 12
    toy.write(tmp_path / "toy.jsonl", rows)
    with pytest.raises(NotApplicable, match=r"108 of 108 rows can't be used \(108 too long for the context\)"):
        _run(model_of("gpt2"), data=data)


def test_the_default_set_follows_the_tokenizer(model_of: Callable[[str], Model]) -> None:
    settings = SUITE.make_settings("quick")
    model = model_of("gpt2")

    class Whole:
        unk_id = None

    class Fake:
        tokens = Whole()

    assert dataset.chosen(Fake().tokens, settings, settings.recipe())[0] == "english"  # type: ignore[arg-type]
    assert dataset.unknown_share(model.tokens, dataset.load("english"), settings.recipe()) > 0.2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"preset": "papers"}, "must be one of recommended, paper, code"),
        ({"permutations": "50"}, "a line needs 99"),
        ({"alpha": "0.001"}, "can't resolve alpha"),
        ({"tokens": "some"}, "tokens is 'some'"),
        ({"k": "0"}, "k is 0, must be at least 1"),
        ({"hook": "v"}, "hook is 'v', must be one of z, result"),
    ],
)
def test_settings_out_of_range(given: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        SUITE.make_settings("quick", given)


def test_files_are_refused_in_the_settings(tmp_path: Path) -> None:
    for given in ({"data": str(tmp_path / "none.jsonl")}, {"prompt": str(tmp_path / "none.txt")}):
        with pytest.raises(DataError, match="Can't read"):
            SUITE.make_settings("quick", given)


def test_data_files_enter_the_resume_key(tmp_path: Path) -> None:
    assert {p.name for p in SUITE.data(SUITE.make_settings())} == {"english.jsonl", "in_vocabulary.jsonl"}
    path = toy.write(tmp_path / "toy.jsonl", toy.rows(36))
    assert SUITE.data(SUITE.make_settings("quick", {"data": str(path)})) == (path,)

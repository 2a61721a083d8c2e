"""The papers' own scores: Wu's share and gate, QRHead's calibration and cut, Feucht's attention without a contrast,
LOCOS' sums over keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reportgen.figures.figure import View
from reportgen.models.load import load, set_threads
from reportgen.models.model import Model
from reportgen.scores import SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.retrieval.drawing.figures import figures
from reportgen.suites.retrieval.scoring import papers
from reportgen.suites.retrieval.scoring.passes import Read, prefill, writer
from reportgen.suites.retrieval.scoring.score import score
from reportgen.suites.retrieval.suite import SUITE
from tests.suites.retrieval.test_passes import document, seen
from tests.suites.retrieval.toy import COPIER, POINTER, planted
from tests.suites.retrieval.toy import facts as written
from tests.tiny import tiny_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    set_threads(1)
    return planted(tmp_path_factory.mktemp("toy"))


def run(model: Model, folder: Path, preset: str) -> SuiteResult:
    given = {"needles": str(written(folder, 4)), "preset": preset, "permutations": 99, "resamples": 50, "twins": 0,
             "random_tokens": False, "sequences": 8 if preset == "feucht" else 0}  # fmt: skip
    return score(model, SUITE.make_settings("quick", given), Context(0, 1))


def test_wu_counts_questions_of_which_more_than_half_is_answered() -> None:
    table = np.zeros((3, 3, 1, 1), np.float32)
    table[range(3), range(3), 0, 0] = (2, 1, 1)
    one = Read({"copy": table}, np.array([2, 2, 4]), np.array([2, 1, 3]), np.array([True, False, False]),
               np.zeros(3, np.float32), np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))  # fmt: skip
    assert float(papers.wu([one], [np.ones(3, bool)]).value[0, 0]) == pytest.approx((2 / 2 + 1 / 4) / 2)


def test_the_cut_drops_tokens_two_standard_deviations_below_the_mean() -> None:
    values = np.array([0.5] * 9 + [-4.0])
    assert float(papers._summed(values)) == pytest.approx(4.5)
    assert float(papers._summed(np.array([0.1, 0.2, 0.3]))) == pytest.approx(0.6)
    assert float(papers._summed(np.array([0.3]))) == 0  # one token: nothing lies above its own mean


@pytest.mark.parametrize(("preset", "name", "heads"), [("wu", "copy", {COPIER}), ("qrhead", "point", None)])
def test_a_preset_replaces_its_measure_and_its_rule(
    model: Model, tmp_path: Path, preset: str, name: str, heads: set[tuple[int, int]] | None
) -> None:
    made = run(model, tmp_path, preset)
    own = made[f"{name}/needles"]
    assert own.p is None
    assert own.no_null == papers.NO_NULL
    assert papers.says(preset) in own.label
    top = own.ranking()[0]
    assert top in (COPIER, POINTER)
    other = made["copy_mass/needles"]
    assert other.p is not None
    kind = "retrieval_heads" if preset == "wu" else "pointing_heads"
    found = next(s for s in made.head_sets if s.key.endswith(f"/{kind}"))
    assert "no null" in found.rule
    assert heads is None or set(found.heads) == heads
    drawn = {figure.id: figure for figure in figures(made, View(model.record, overlays=made.head_sets))}
    assert "mean over questions" in drawn["retrieval-copy"].notes[0] or preset != "wu"
    assert "N/A" in drawn["retrieval-point"].notes[0] or preset != "qrhead"


def test_feucht_has_neither_contrast_nor_rule(model: Model, tmp_path: Path) -> None:
    made = run(model, tmp_path, "feucht")
    token = made["token/random_tokens"]
    assert token.no_null == papers.NO_NULL
    assert float(np.nanmin(token.values)) >= 0
    effect = made["token_effect/random_tokens"]
    assert (effect.no_null, effect.p) == (papers.NO_NULL, None)
    assert effect.label == "Token copying by patching, Feucht et al. (probability)"
    assert float(np.nanmax(np.abs(effect.values))) < 1
    assert not [s for s in made.head_sets if s.key.endswith("copiers")]


@pytest.mark.parametrize("cached", [True, False])
def test_locos_is_the_papers_sum_over_keys(tmp_path: Path, cached: bool) -> None:
    """Against every answer step with its whole prompt: phi of each key, in the order of the paper's code."""
    made = load(tiny_folder("llama", tmp_path, seed=3, num_key_value_heads=2), device="cpu")
    doc, of = document(made), writer(made)
    found = papers.locos(made, of, prefill(made, doc, cached=cached), doc)
    assert found is not None
    want = np.zeros(found.shape)  # [question layer head]
    for i, needle in enumerate(doc.needles):
        asked, (start, end) = needle.asked, needle.sentence
        for t, w in enumerate(asked.expected.tolist()):
            _, patterns, values, _ = seen(made, [*doc.ids.tolist(), *asked.ids[: asked.answer + t].tolist()])
            for layer, pattern in enumerate(patterns):
                for h in range(len(pattern)):
                    phi = pattern[h, -1] * (values[layer][:, h // 2] @ (of.W_O[layer][h] @ made.W_U()[:, w].float()))
                    inside = phi[start:end].sum()
                    rest = (phi.sum() - inside) * (end - start) / (len(phi) - (end - start))
                    want[i, layer, h] += float(inside - rest) / len(asked.expected)
    np.testing.assert_allclose(found, want, atol=1e-4)
    assert np.abs(want).max() > 1e-2


def test_locos_counts_questions_answered_whole_and_has_no_null(model: Model, tmp_path: Path) -> None:
    made = run(model, tmp_path, "locos")
    write = made["write/needles"]
    assert write.no_null == papers.NO_NULL
    assert write.label == "Writing the answer, raw LOCOS of Gema et al. (logits)"
    assert write.n == 32
    assert write.ranking()[0] == COPIER
    assert abs(float(write.values[POINTER])) < 1e-5
    assert made["copy/needles"].p is not None
    drawn = {figure.id: figure for figure in figures(made, View(model.record, overlays=made.head_sets))}
    assert "n = 32 questions answered right" in drawn["retrieval-write"].caption
    assert "no final norm" in drawn["retrieval-write"].notes[0]

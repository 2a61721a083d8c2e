"""One prefill and teacher forcing against a plain reference: greedy decoding, every step with its whole prompt."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.retrieval.scoring.documents import Asked, Document, Needle
from reportgen.suites.retrieval.scoring.passes import Read, answers, prefill, read, windows, writer
from tests.tiny import tiny_folder

SPANS = ((3, 9), (14, 20), (26, 33))  # sentences; the value is the end of each
LENGTHS = (2, 3, 3)
FAMILIES = {"llama": {"num_key_value_heads": 2}, "gpt2": {}, "qwen3": {}}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp(request.param)
    return load(tiny_folder(request.param, folder, seed=3, **FAMILIES[request.param]), device="cpu")


def document(model: Model) -> Document:
    """Random tokens; question 0 has the model's own answer, 1 its first two tokens, 2 none of them."""
    rng = np.random.default_rng(5)
    ids = rng.integers(2, 150, 40)
    needles = []
    for i, ((low, high), length) in enumerate(zip(SPANS, LENGTHS, strict=True)):
        question = rng.integers(2, 150, 5 + i)
        answer = greedy(model, [*ids, *question], length)
        for place in {0: (), 1: (2,), 2: (0, 1, 2)}[i]:
            answer[place] = (answer[place] + 7) % 150 + 2
        asked = Asked(np.array([*question, *answer]), len(question))
        needles.append(Needle((low, high), (high - length, high), asked, "", str(i)))
    return Document(ids, tuple(needles), "")


def greedy(model: Model, prompt: list[int], count: int) -> list[int]:
    found: list[int] = []
    for _ in range(count):
        found.append(int(model.run(torch.tensor([[*prompt, *found]]))[0, -1].argmax()))
    return found


def seen(model: Model, prompt: list[int]) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    """Logits of the last position, patterns and values per layer, and the last residual."""
    patterns, values, last = {}, {}, []
    hooks = {("resid_post", model.record.n_layers - 1): last.append}
    for layer in range(model.record.n_layers):
        hooks["pattern", layer] = partial(patterns.__setitem__, layer)
        hooks["v", layer] = partial(values.__setitem__, layer)
    logits = model.run(torch.tensor([prompt]), {at: partial(_kept, fn) for at, fn in hooks.items()})
    return logits[0, -1], [patterns[i][0] for i in patterns], [values[i][0] for i in values], last[0][0, -1]


def _kept(fn: object, x: Tensor) -> None:
    fn(x.clone())  # type: ignore[operator]


def reference(model: Model, doc: Document) -> tuple[dict[str, np.ndarray], list[int], list[float]]:
    """Tables as in passes.Read, tokens before the first wrong one, log p."""
    r, of = model.record, writer(model)
    count = len(doc.needles)
    tables = {name: np.zeros((count, count, r.n_layers, r.n_heads)) for name in ("copy", "copy_mass", "point", "write")}
    rights, logps = [], []
    firsts = [int(n.asked.expected[0]) for n in doc.needles]
    for i, needle in enumerate(doc.needles):
        asked, expected = needle.asked, needle.asked.expected.tolist()
        others = torch.tensor([[firsts[j] for j in range(count) if j != i]])
        going, right, logp = True, 0, 0.0
        for t, w in enumerate(expected):
            prompt = [*doc.ids.tolist(), *asked.ids[: asked.answer + t].tolist()]
            logits, patterns, values, residual = seen(model, prompt)
            logp += float(logits.log_softmax(-1)[w])
            going &= int(logits.argmax()) == w
            right += going
            direction = of.toward(torch.tensor([w]), others)[0] / of.divisor(residual)
            for layer, pattern in enumerate(patterns):
                for h in range(r.n_heads):
                    row = pattern[h, -1]
                    top = int(row.argmax())
                    for j, other in enumerate(doc.needles):
                        span = range(*other.value)
                        twin = span[min(t, len(span) - 1)]
                        tables["copy"][i, j, layer, h] += going and top in span and doc.ids[top] == doc.ids[twin]
                        tables["copy_mass"][i, j, layer, h] += float(row[twin]) / len(expected)
                        v = values[layer][list(span), h // (r.n_heads // r.n_kv_heads)]
                        put = (row[list(span)][:, None] * v) @ of.W_O[layer][h] @ direction
                        tables["write"][i, j, layer, h] += float(put.sum()) / len(expected)
        _, patterns, *_ = seen(model, [*doc.ids.tolist(), *asked.ids[: asked.answer].tolist()])
        for layer, pattern in enumerate(patterns):
            for j, other in enumerate(doc.needles):
                mass = pattern[:, len(doc.ids) :, slice(*other.sentence)].sum(-1).mean(-1)
                tables["point"][i, j, layer] = mass.numpy()
        rights.append(right)
        logps.append(logp)
    return tables, rights, logps


def with_answers_in_place(doc: Document) -> Document:
    """The values in the document are the answers."""
    ids = doc.ids.copy()
    for needle in doc.needles:
        ids[slice(*needle.value)] = needle.asked.expected
    return replace(doc, ids=ids)


@pytest.mark.parametrize("cached", [True, False])
def test_decisions_are_those_of_greedy_decoding_with_whole_prompts(model: Model, cached: bool) -> None:
    doc = document(model)
    tables, rights, logps = reference(model, doc)
    assert rights[:1] == [2]
    assert max(rights) == 2
    assert rights[2] == 0
    found = read(model, writer(model), doc, cached=cached)
    assert found.right.tolist() == rights
    assert found.tokens.tolist() == list(LENGTHS)
    assert found.whole.tolist() == [r == n for r, n in zip(rights, LENGTHS, strict=True)]
    np.testing.assert_allclose(found.logp, logps, atol=1e-3)
    np.testing.assert_array_equal(found.tables["copy"], tables["copy"])
    for name in ("copy_mass", "point", "write"):
        np.testing.assert_allclose(found.tables[name], tables[name], atol=2e-4, err_msg=name)


def test_values_in_the_document_are_hits_of_heads_that_look_there(model: Model) -> None:
    doc = with_answers_in_place(document(model))
    tables, rights, _ = reference(model, doc)
    found = read(model, writer(model), doc)
    assert found.right.tolist() == rights
    np.testing.assert_array_equal(found.tables["copy"], tables["copy"])
    whole, logp = answers(model, prefill(model, doc), [n.asked for n in doc.needles])
    assert whole.tolist() == found.whole.tolist()
    np.testing.assert_allclose(logp.numpy(), found.logp, atol=1e-4)


def test_facts_beyond_a_window_leave_the_layer(tmp_path: Path) -> None:
    """Gemma 2's first layer sees six positions: no fact; the second sees all."""
    model = load(tiny_folder("gemma2", tmp_path), device="cpu")
    assert windows(model)[:2] == [6.0, float("inf")]
    found: Read = read(model, writer(model), document(model), cached=False)
    assert "write" not in found.tables  # a norm stands after W_O
    for name in ("copy", "copy_mass", "point"):
        assert np.isnan(found.tables[name][:, :, 0]).all(), name
        assert np.isfinite(found.tables[name][:, :, 1]).all(), name

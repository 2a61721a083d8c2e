"""Examples by decile: the same whatever the batch and the order, and true to the patterns they are from."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch

from reportgen.head_examples import HeadExamples
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import NamedArray, SuiteResult
from reportgen.suites.text import classes
from reportgen.suites.text.scoring.examples import DECILES, Recorder, Sizes, norm_edges, priorities
from reportgen.suites.text.scoring.statistics import tally, writers
from reportgen.suites.text.scoring.stream import Window, by_hash
from tests.suites.text import plain
from tests.tiny import WORDS, tiny_folder

FIRST, SIZES = 4, Sizes(2, 3, 2)


@pytest.fixture(scope="module", params=["gpt2", "qwen2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


def windows(count: int = 10, length: int = 34) -> list[Window]:
    rng = np.random.default_rng(5)
    return [
        Window(
            rng.integers(2, 2 + len(WORDS), length - 3 * (i % 2)), 3, i, hashlib.blake2b(bytes([i])).digest()[:16], 0
        )
        for i in range(count)
    ]


def drawn(model: Model, some: list[Window], batch: int, *, text: bool = True) -> dict[str, NamedArray]:
    of = writers(model)
    table = classes.table(model.tokens, np.concatenate([np.append(w.ids, w.following) for w in some]), "")
    edges = norm_edges(model, by_hash(some, 0, 4), of, FIRST, batch)
    recorder = Recorder(model, some, of, edges, SIZES, FIRST, 0)
    tally(model, some, of, table, len(classes.names("")), FIRST, batch, listener=recorder)
    return recorder.arrays(model, text=text)


def events(arrays: dict[str, NamedArray], some: list[Window]) -> npt.NDArray[np.int64]:
    """[layer head place 2] document and query of every event."""
    shape = arrays["example_window"].values
    start, words = arrays["example_start"].values, arrays["example_words"].values
    text = words[arrays["example_text"].values]
    known = {tuple(w.ids.tolist()): w.document for w in some}
    of = [known[tuple(text[a : b - 1].tolist())] for a, b in pairwise(start)]
    document = np.where(shape < 0, -1, np.asarray(of)[np.maximum(shape, 0)])
    return np.stack([document, np.where(shape < 0, -1, arrays["example_query"].values)], -1)


def test_neither_the_batch_nor_the_order_of_files_changes_them(model: Model) -> None:
    some = windows()
    wanted = events(drawn(model, some, 1), some)
    np.testing.assert_array_equal(events(drawn(model, some, 3), some), wanted)
    order = np.random.default_rng(1).permutation(len(some))
    mixed = [some[i] for i in order]
    np.testing.assert_array_equal(events(drawn(model, mixed, 2), mixed), wanted)


def test_priorities_are_words_of_the_hash() -> None:
    window = windows(1)[0]
    found = priorities(window, 7, range(4, 9), 11)
    assert found.shape == (11, 5)
    message = (7).to_bytes(8, "little", signed=True) + window.key + (6).to_bytes(4, "little")
    digest = hashlib.blake2b(message + (1).to_bytes(4, "little"), digest_size=64).digest()
    assert int(found[10, 2]) == int.from_bytes(digest[16:24], "little")


def test_they_are_true_to_the_patterns(model: Model) -> None:
    some = windows()
    result = SuiteResult("text", arrays=drawn(model, some, 4))
    found = HeadExamples.of(result)
    assert found is not None
    edges = result.arrays["example_edges"].values
    directions, _ = plain.unembedding(model)
    seen = 0
    for layer, head in ((0, 1), (2, 3)):
        W_O = model.W_O(layer)[head].double().numpy()
        for e in found.of_head((layer, head)):
            ids = [int(found.arrays["words"][i]) for i in found.window(e.window)]
            (window,) = [w for w in some if [*w.ids.tolist(), w.following] == ids]
            run = plain.kept(model, window)
            row, out = run["pattern"][layer][head, e.query], run["z"][layer][e.query, head] @ W_O
            assert e.norm == pytest.approx(np.linalg.norm(out), rel=1e-4)
            assert e.sink == pytest.approx(row[0], abs=1e-5)
            assert [k.mass for k in e.keys] == pytest.approx([row[k.position] for k in e.keys], abs=1e-5)
            assert all(0 < k.position <= e.query for k in e.keys)
            assert [k.weight for k in e.keys] == sorted((k.weight for k in e.keys), reverse=True)
            if e.place != "largest":
                decile = 1 + int((e.norm > edges[layer, head]).sum())
                assert e.place == f"d{decile}"
            logits = directions[: model.tokens.size] @ out
            assert e.raised[0] == found.words[int(np.flatnonzero(found.arrays["words"] == logits.argmax())[0])]
            assert e.lowered[0] == found.words[int(np.flatnonzero(found.arrays["words"] == logits.argmin())[0])]
            seen += 1
    assert seen > 20


def test_the_share_that_the_top_key_explains(model: Model) -> None:
    some = windows()
    found = HeadExamples.of(SuiteResult("text", arrays=drawn(model, some, 4)))
    assert found is not None
    e = found.of_head((1, 2))[0]
    ids = [int(found.arrays["words"][i]) for i in found.window(e.window)]
    values: list[torch.Tensor] = []
    model.run(torch.tensor([ids[:-1]]), {("v", 1): lambda v: values.append(v[0].double())})
    (window,) = [w for w in some if w.ids.tolist() == ids[:-1]]
    run = plain.kept(model, window)
    row = run["pattern"][1][2, e.query]
    W_O = model.W_O(1)[2].double().numpy()
    kv = values[0].shape[1]
    v = values[0][:, 2 // (model.record.n_heads // kv)].numpy()
    out = (row[: len(v)] @ v) @ W_O
    top = int(row.argmax())
    assert e.top_share == pytest.approx(float((row[top] * v[top] @ W_O) @ out / (out @ out)), abs=1e-3)
    weights = row * np.linalg.norm(v @ W_O, axis=1)
    assert e.keys[0].weight == pytest.approx(float(weights[e.keys[0].position] / weights.sum()), abs=1e-4)


def test_a_decile_has_one_event_of_a_window_and_the_largest_are_the_largest(model: Model) -> None:
    some = windows()
    arrays = drawn(model, some, 4)
    places = arrays["example_window"].labels["place"]
    assert places == SIZES.places
    window, norm = arrays["example_window"].values, arrays["example_norm"].values
    for name in set(places) - {"largest"}:
        own = window[..., [i for i, p in enumerate(places) if p == name]]
        for layer, head in np.ndindex(own.shape[:2]):
            there = own[layer, head][own[layer, head] >= 0]
            assert len(set(there.tolist())) == len(there)
    assert (norm[..., 0] >= np.nan_to_num(norm).max(-1) - 1e-5).all()
    shares = arrays["example_shares"].values
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
    assert shares.shape[-1] == DECILES


def test_without_text_there_are_ids_alone(model: Model) -> None:
    arrays = drawn(model, windows(6), 2, text=False)
    assert not [label for array in arrays.values() for name in array.labels for label in [name] if name == "word"]
    found = HeadExamples.of(SuiteResult("text", arrays=arrays))
    assert found is not None
    assert not found.has_text
    assert found.of_head((0, 0))[0].raised[0].startswith("#")

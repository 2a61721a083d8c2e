"""Greedy decoding in batches, and reading an answer out of what was generated."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from reportgen.models.model import Model
from reportgen.models.prefix_cache import Past, check_cache
from reportgen.suites.cognitive.scoring.prompts import answer_in, decode_greedily, is_done


def _plain(model: Model, prompt: list[int], most: int) -> list[int]:
    """One token at a time, the whole text run anew each time."""
    ids = list(prompt)
    for _ in range(most):
        ids.append(int(model.logits(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "opt"])
def test_batched_decoding_gives_what_single_steps_give(family: str, model_of: Callable[[str], Model]) -> None:
    model = model_of(family)
    prompts = [[5, 9, 2], [7, 7, 3, 11], [4, 8, 15], [20, 3, 3]]
    made = decode_greedily(model, prompts, 6, lambda text: False, 2)
    assert made == [_plain(model, prompt, 6) for prompt in prompts]


def test_decoding_stops_where_the_answer_is_done(model_of: Callable[[str], Model]) -> None:
    model = model_of("gpt2")
    free = decode_greedily(model, [[5, 9, 2]], 8, lambda text: False, 4)[0]
    wanted = model.tokens.decode(free[:3])
    assert decode_greedily(model, [[5, 9, 2], [7, 7, 3]], 8, lambda text: text == wanted, 4)[0] == free[:3]
    assert decode_greedily(model, [[1] * 62], 8, lambda text: False, 4)[0] == _plain(
        model, [1] * 62, 2
    )  # the context's end


@pytest.mark.parametrize("cached", [True, False])
def test_continuations_see_the_whole_prompt(model_of: Callable[[str], Model], cached: bool) -> None:
    model = model_of("gpt2")
    assert check_cache(model)
    ids = torch.tensor([[5, 9, 2, 30, 4, 7]])
    past = Past(model, ids[:, :4], cached=cached)

    def double(z: torch.Tensor) -> torch.Tensor:
        assert z.shape[1] == 2
        return z * 2

    got = past.run(ids[:, 4:].expand(3, -1), {("z", 1): double})
    wanted = model.run(ids, {("z", 1): lambda z: torch.cat([z[:, :4], 2 * z[:, 4:]], dim=1)})[:, 4:]
    assert torch.allclose(got, wanted.expand(3, -1, -1), atol=1e-4)
    again = past.run(ids[:, 4:])  # nothing was stored
    assert torch.allclose(again, model.logits(ids)[:, 4:], atol=1e-4)


def test_answers_in_generated_text() -> None:
    assert answer_in(" Paris.\nQ: next", "plain") == "Paris"
    assert answer_in("\n", "plain") is None
    assert answer_in('[ {"answer": "Pa\\"ris"} ] and more', "cogqa") == 'Pa"ris'
    assert answer_in(' Paris"} ]', "cogqa") == "Paris"  # the prompt had opened the list
    assert answer_in("Paris, I think", "cogqa") is None
    assert answer_in('[ {"answer": "\\u12"} ]', "cogqa") is None


def test_when_an_answer_is_done() -> None:
    assert is_done("plain")(" Paris.")
    assert is_done("plain")(" Paris\nQ")
    assert not is_done("plain")("\n Paris")
    assert is_done("cogqa")('[ {"answer": "x"}]')
    assert not is_done("cogqa")('[ {"answer": "x"')

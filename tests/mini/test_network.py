from pathlib import Path

import pytest
import torch

from reportgen.errors import ModelError
from reportgen.mini import network
from reportgen.mini.network import Network, Shape

TINY = Shape(vocab_size=40, n_positions=16, n_embd=16, n_layer=3, n_head=2, n_inner=32)


@pytest.mark.parametrize("length", [1, 7, 16])
def test_hugging_face_gives_the_same_logits(length: int) -> None:
    model = Network(TINY, seed=3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # fresh biases are zero and LayerNorms one, which would hide a mix-up
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    ids = torch.randint(TINY.vocab_size, (4, length), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = model(ids)[0], network.hugging_face(model, 0)(ids).logits
    assert float(ours.abs().max()) > 1
    assert float((ours - theirs).abs().max()) < 1e-4


def test_patterns_are_causal_and_sum_to_one() -> None:
    ids = torch.randint(TINY.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, patterns = Network(TINY)(ids)
    assert [tuple(pattern.shape) for pattern in patterns] == [(2, 2, 9, 9)] * 3
    for pattern in patterns:
        assert torch.equal(pattern.triu(1), torch.zeros_like(pattern))
        torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 2, 9))


def test_loss_is_cross_entropy_of_the_next_token() -> None:
    model = Network(TINY)
    ids = torch.randint(TINY.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logprobs = model(ids)[0][:, :-1].log_softmax(-1)
        wanted = -logprobs.gather(-1, ids[:, 1:, None]).mean()
        assert float(model.loss(ids)) == pytest.approx(float(wanted), abs=1e-5)


def test_loading_refuses_a_later_mlp_and_an_empty_folder(tmp_path: Path) -> None:
    model = network.hugging_face(Network(TINY), 0)
    with torch.no_grad():
        model.transformer.h[2].mlp.c_proj.weight[0, 0] = 1.0
    model.save_pretrained(tmp_path / "later")
    with pytest.raises(ModelError, match="not zero"):
        network.load(tmp_path / "later")
    with pytest.raises(ModelError, match="has no trained model"):
        network.load(tmp_path)

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.mini import evaluate, network, phrasings
from reportgen.mini.network import Network, Shape
from reportgen.mini.vocab import names, vocabulary

SHAPE = Shape(len(vocabulary()), n_positions=128, n_embd=32, n_layer=2, n_head=4, n_inner=64)


@pytest.fixture(scope="module")
def untrained() -> Network:
    return Network(SHAPE, seed=0)


def test_an_untrained_network_knows_nothing(untrained: Network) -> None:
    untrained.train()
    properties = evaluate.measure(untrained, prompts=5)
    assert untrained.training
    shares = {key: value for key, value in properties.items() if key.endswith("_accuracy")}
    assert len(shares) == 9
    assert all(value <= 0.1 for value in shares.values())
    assert properties["true_name_movers"] == []
    assert set(properties["facts"]) == set(phrasings.FACTS)
    assert all(np.shape(values) == (2, 4) for values in properties["heads"].values())
    assert properties["heads"]["copying_top5"][0] == [None] * 4
    json.dumps(properties, allow_nan=False)


def test_a_folder_measures_like_its_network(untrained: Network, tmp_path: Path) -> None:
    network.hugging_face(untrained, 0).save_pretrained(tmp_path)
    assert evaluate.measure(tmp_path, prompts=3) == evaluate.measure(untrained, prompts=3)


class Oracle(Network):
    """Says and looks at what a perfect network would in IOI: the name that stands once."""

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        logits = torch.zeros(*ids.shape, self.shape.vocab_size)
        patterns = torch.zeros(len(ids), self.shape.n_head, ids.shape[1], ids.shape[1])
        known = set(names().tolist())
        for row, line in enumerate(ids.tolist()):
            once = [token for token in line if token in known and line.count(token) == 1]
            for token in once[:1]:
                logits[row, -1, token] = 1.0
                patterns[row, 1, -1, line.index(token)] = 0.7
        return logits, [torch.zeros_like(patterns), patterns]


def test_a_perfect_name_mover_is_found() -> None:
    oracle = Oracle(SHAPE, seed=0)
    with torch.no_grad():  # head 1 of layer 1: W_V W_O = a projection in which each name's E is its own unembedding
        oracle.blocks[1].attn.c_attn.weight.zero_()
        oracle.blocks[1].attn.c_attn.weight[:8, 64 + 8 : 64 + 16] = torch.eye(8)
        oracle.blocks[1].attn.c_proj.weight[8:16, :8] = torch.eye(8)
        angle = torch.randn(SHAPE.vocab_size, 8, generator=torch.Generator().manual_seed(1))
        oracle.wte.weight[:, :8] = angle / angle.norm(dim=1, keepdim=True)
    embedding = torch.nn.functional.pad(oracle.wte.weight[:, :8].detach(), (0, 24))
    oracle.first_mlp_embedding = lambda: embedding  # type: ignore[method-assign]
    properties = evaluate.measure(oracle, prompts=3)
    assert properties["ioi_accuracy"] == properties["ioi_unseen_names_accuracy"] == 1.0
    assert properties["heads"]["copying_top1"][1] == [0.0, 1.0, 0.0, 0.0]
    assert properties["true_name_movers"] == [[1, 1]]
    assert properties["heads"]["attention_io"][1][1] == pytest.approx(0.7, abs=1e-3)
    assert properties["heads"]["attention_s1"][1][1] == 0.0
    assert "name movers 1, best (attention to IO / copying) L1H1 0.70/1.00" in evaluate.summary(properties)


class Inducer(Network):
    """Continues after the last earlier occurrence of each token, and looks there."""

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        logits = torch.zeros(*ids.shape, self.shape.vocab_size)
        pattern = torch.zeros(len(ids), self.shape.n_head, ids.shape[1], ids.shape[1])
        for row, line in enumerate(ids.tolist()):
            for here, token in enumerate(line):
                before = [there for there in range(here) if line[there] == token]
                if before:
                    logits[row, here, line[before[-1] + 1]] = 1.0
                    pattern[row, 2, here, before[-1] + 1] = 1.0
                pattern[row, 3, here, max(here - 1, 0)] = 1.0
        return logits, [pattern, pattern]


def test_perfect_induction_and_its_head_are_found() -> None:
    properties = evaluate.measure(Inducer(SHAPE), prompts=3)
    assert properties["induction_accuracy"] == 1.0
    assert properties["heads"]["attention_induction"] == [[0.0, 0.0, 1.0, 0.0]] * 2
    assert properties["heads"]["attention_previous"][0][3] == 1.0


def test_copying_is_a_share_and_the_top_five_hold_the_first(untrained: Network) -> None:
    with torch.no_grad():
        scores = evaluate.copying(untrained)
    assert len(names()) > 50
    pairs = zip(scores["copying_top1"][1], scores["copying_top5"][1], strict=True)
    assert all(0 <= (top1 or 0) <= (top5 or 0) <= 1 for top1, top5 in pairs)

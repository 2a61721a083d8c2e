import pytest
import torch

from reportgen.mini import network
from reportgen.mini.network import Network, Shape

TINY = Shape(vocab_size=8, n_positions=16, n_embd=16, n_layer=3, n_head=2, n_inner=32)


@pytest.mark.parametrize("size", [(3, 8, 8), (2, 8, 20), (2, 20, 8)])
def test_orthogonalize_levels_the_singular_values(size: tuple[int, int, int]) -> None:
    matrices = torch.randn(size, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(network.orthogonalize(matrices))
    assert torch.linalg.svdvals(matrices).max() > 3
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.35


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_parameter_has_one_owner_and_only_matrices_decay(name: str) -> None:
    model = Network(TINY)
    groups = [
        group for each in network.build_optimizer(model, name, 1e-3, (0.9, 0.98), 0.1) for group in each.param_groups
    ]
    owned = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(owned) == sorted(id(parameter) for parameter in model.parameters())
    assert all((p.ndim == 2) == (group["weight_decay"] > 0) for group in groups for p in group["params"])

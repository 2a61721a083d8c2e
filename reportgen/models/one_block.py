"""One block of Hugging Face's own code, filled with one layer's weights at a time: what a single token becomes.

A prompt of one token attends to itself with weight 1, in every family: its residual needs no mask and no rotation, and
one block in memory is enough for any depth. The rest of the skeleton has a vocabulary of one token.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from reportgen.errors import NotApplicable

if TYPE_CHECKING:
    from reportgen.models.weights import StaticWeights

_auto_model: Any = AutoModelForCausalLM  # half-typed upstream
_AT_ONCE = 512  # tokens that go through the block together


class _Found(Exception):
    pass


class OneBlock:
    """A model of one layer, in float32 on the weights' device."""

    def __init__(self, weights: StaticWeights) -> None:
        self.weights = weights
        config = _shortened(weights.config, weights.record.n_layers)
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                self.model = _auto_model.from_config(config, attn_implementation="eager").float().eval()
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
            raise NotApplicable(
                f"One block of a {weights.record.family} model can't be built alone: {error}."
            ) from error
        self.model.to(weights.device)
        self.block: torch.nn.Module = self.model.get_submodule(weights.layout.block.format(0))
        self._fill_rest()

    def load(self, layer: int) -> None:
        """Put a layer's weights into the block."""
        held = dict(self.block.named_parameters()) | dict(self.block.named_buffers())
        with torch.no_grad():
            for name, into in held.items():
                tensor = self.weights.source.get(self.weights.layout.at(layer, name))
                if tensor is not None and tensor.shape == into.shape:
                    into.copy_(tensor)
                elif isinstance(into, torch.nn.Parameter):
                    raise NotApplicable(f"layer {layer} has no weight {name} of the shape {tuple(into.shape)}.")

    def run(self, x: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the block is given and what it returns, [token d_model] each; x None: the skeleton's own embedding."""
        seen: list[Tensor] = []

        def before(_: torch.nn.Module, args: Any, kwargs: Any) -> Any:
            given = args[0] if args else kwargs["hidden_states"]
            own = given if x is None else x[:, None].to(given)
            seen.append(own[:, 0])
            return ((own, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": own})

        def after(_: torch.nn.Module, __: Any, out: Any) -> None:
            seen.append((out[0] if isinstance(out, tuple) else out)[:, 0])
            raise _Found

        handles = [
            self.block.register_forward_pre_hook(before, with_kwargs=True),
            self.block.register_forward_hook(after),
        ]
        ids = torch.zeros(1 if x is None else len(x), 1, dtype=torch.long, device=self.weights.device)
        try:
            with torch.no_grad():
                self.model(input_ids=ids, use_cache=False)
        except _Found:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return seen[0], seen[1]

    def embed(self, token: int) -> None:
        """Make the skeleton's one token this one."""
        with torch.no_grad():
            row = self.weights.source.rows(f"{self.weights.layout.embed}.weight", torch.tensor([token]))
            self.model.get_submodule(self.weights.layout.embed).weight.copy_(row)

    def _fill_rest(self) -> None:
        """Positions, norms of embeddings: everything beside the block, the vocabulary and the unembedding."""
        layout = self.weights.layout
        skipped = (f"{layout.block.format(0)}.", f"{layout.embed}.", *(f"{name}." for name in layout.unembed))
        with torch.no_grad():
            for name, into in self.model.named_parameters():
                if not name.startswith(skipped):
                    tensor = self.weights.source.get(name)
                    if tensor is not None and tensor.shape == into.shape:
                        into.copy_(tensor)


def _shortened(given: Any, layers: int) -> Any:
    """A config of one layer and one token; lists with an entry per layer keep their first."""
    config = copy.deepcopy(given)
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == layers and layers > 1:
            setattr(config, name, value[:1])
    config.num_hidden_layers = 1
    if hasattr(config, "attention_types"):
        config.attention_types = [[["global"], 1]]
    config.vocab_size = 1
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(config, name, None)
    return config


def after_first(weights: StaticWeights, ids: Tensor) -> Tensor:
    """See `StaticWeights.first_block`."""
    one = OneBlock(weights)
    one.load(0)
    x = weights.embed(ids)
    return _checked(weights, lambda: torch.cat([one.run(part)[1] for part in torch.split(x, _AT_ONCE)]))


def at_first_position(weights: StaticWeights, token: int) -> Tensor:
    """See `StaticWeights.first_position`."""
    one = OneBlock(weights)
    one.embed(token)

    def walk() -> Tensor:
        kept: list[Tensor] = []
        x = None
        for layer in range(weights.record.n_layers):
            one.load(layer)
            given, x = one.run(x)
            kept.append(given[0])
        assert x is not None
        return torch.stack([*kept, x[0]])

    return _checked(weights, walk)


def _checked(weights: StaticWeights, make: Callable[[], Tensor]) -> Tensor:
    try:
        return make()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise NotApplicable(f"One block of a {weights.record.family} model can't be run alone: {error}.") from error

"""A model in training: its trainable tensors, and one forward pass with gates. Two ways to the same numbers.

general  hooks on the bridge: any supported family on any device
plain    plain operations on the same tensors (gpt2.py, llama.py), faster; tests hold it to the general way

Either trains all weights, or only those of queries and keys (`train` "qk"): what decides which edges there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from reportgen.errors import NotApplicable
from reportgen.models.model import Model
from reportgen.suites.sparse import gates, gpt2, llama
from reportgen.suites.sparse.gates import MASKED, Gate, Noise
from reportgen.suites.sparse.gpt2 import Gpt2
from reportgen.suites.sparse.llama import Llama

ALL, QK = "all", "qk"  # what may be trained


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass: logits [batch pos vocab]; expected and open edges per token [layer head]."""

    logits: Tensor
    expected: Tensor
    opened: Tensor


class Trainee(Protocol):
    """What training steps. `parameters` are leaves by name; `tensors()` are the weights by Hugging Face's names."""

    parameters: dict[str, Tensor]

    def __call__(self, ids: Tensor, gate: Gate | None, noise: Noise | None = None) -> Pass: ...
    def tensors(self) -> dict[str, Tensor]: ...


def trainee(model: Model, *, general: bool = False, train: str = ALL, number: torch.dtype = torch.float32) -> Trainee:
    """`model` made trainable; its own weights change.

    general  through the bridge even where there is a faster way
    train    "all", or "qk": W_Q and W_K with their biases and norms; nothing else is touched
    number   of products with frozen weights on the plain way of a Llama; the rest is float32

    Raises NotApplicable where the family's pattern cannot be written.
    """
    if not model.can_edit_pattern:
        raise NotApplicable(f"Attention edges can't be gated in {model.record.family} models: their scores are hidden.")
    if not general and llama.fits(model.config):
        return _Plain(model, train, number)
    if not general and train == ALL and gpt2.fits(model.config):  # its joint Q, K and V are trained as one
        return _Plain(model, train, number)
    return _Bridged(model, train)


class _Plain:
    def __init__(self, model: Model, train: str, number: torch.dtype) -> None:
        self._tensors = {name: tensor for name, tensor in own_tensors(model).items() if tensor.is_floating_point()}
        frozen = _idle(model)
        unread: tuple[str, ...] = ()
        if gpt2.fits(model.config):
            plain = Gpt2(self._tensors, model.config)
            unread = tuple(f"transformer.h.{i}.ln_2." for i, used in enumerate(plain.has_mlp) if not used)
            self.network: Gpt2 | Llama = plain
        else:
            self.network = Llama(self._tensors, model.config, number)
        self.parameters: dict[str, Tensor] = {}
        for name, tensor in self._tensors.items():
            tensor.requires_grad_(False)
            if tensor.data_ptr() not in frozen and not name.startswith(unread) and (train == ALL or of_qk(name)):
                frozen.add(tensor.data_ptr())  # a tied tensor is trained once
                self.parameters[name] = tensor
        for tensor in self.parameters.values():
            tensor.requires_grad_()

    def __call__(self, ids: Tensor, gate: Gate | None, noise: Noise | None = None) -> Pass:
        return Pass(*self.network(ids, gate, noise))

    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self._tensors.items()}


def own_tensors(model: Model) -> Mapping[str, Tensor]:
    """A loaded model's weights by Hugging Face's names: what the bridge computes with, not copies."""
    tensors: Mapping[str, Tensor] = getattr(model.source, "tensors", {})
    return tensors


def of_qk(name: str) -> bool:
    """Whether a parameter is of queries or keys, by Hugging Face's names or the bridge's."""
    return bool({"q", "k", "q_proj", "k_proj", "q_norm", "k_norm"} & set(name.split(".")))


class _Bridged:
    def __init__(self, model: Model, train: str) -> None:
        self.model = model
        frozen = _idle(model)
        for name, parameter in model.bridge.named_parameters():
            trained = train == ALL or of_qk(name)
            parameter.requires_grad_(trained and parameter.data_ptr() not in frozen)
        self.parameters: dict[str, Tensor] = self._used()

    def _used(self) -> dict[str, Tensor]:
        """The parameters that a gradient reaches: the bridge also keeps joint copies that its forward does not read."""
        ids = torch.arange(4, device=self.model.device)[None] + 2
        with torch.enable_grad():  # also where the caller has switched gradients off
            self(ids, None).logits.float().logsumexp(-1).sum().backward()  # type: ignore[no-untyped-call]
        reached = {}
        for name, parameter in self.model.bridge.named_parameters():
            if parameter.grad is not None:
                reached[name], parameter.grad = parameter, None
        return reached

    def __call__(self, ids: Tensor, gate: Gate | None, noise: Noise | None = None) -> Pass:
        expected: list[Tensor] = []
        opened: list[Tensor] = []
        tokens = ids.numel()

        def rule(scores: Tensor, pattern: Tensor) -> Tensor:
            if gate is None:
                allowed = (scores > MASKED).sum((0, 2, 3)) / tokens
                expected.append(allowed)
                opened.append(allowed)
                return pattern * 1.0
            if noise is None:
                found = gate.opened(scores)
                expected.append(found.sum((0, 2, 3)) / tokens)
                opened.append(expected[-1])
                return pattern * found
            sampled, probability = gates.straight_through(scores, gate.bias, gates.uniform_of(noise, scores))
            expected.append(probability.sum((0, 2, 3)) / tokens)
            opened.append(sampled.detach().sum((0, 2, 3)) / tokens)
            return pattern * sampled

        logits = self.model.run(ids, gates.hooks(self.model, rule), grad=torch.is_grad_enabled())
        return Pass(logits, torch.stack(expected), torch.stack(opened))

    def tensors(self) -> dict[str, Tensor]:
        """The weights by Hugging Face's names; joint Q, K and V that the bridge split into copies are put together."""
        named = {name: tensor.detach() for name, tensor in own_tensors(self.model).items()}
        if self.model.layout.packing in ("head_qkv", "rows_qkv"):
            for layer in range(self.model.record.n_layers):
                for part in ("weight", "bias"):
                    name = f"{self.model.layout.at(layer, self.model.layout.value)}.{part}"
                    if name in named:
                        named[name] = self._joint(layer, part)
        return named

    def _joint(self, layer: int, part: str) -> Tensor:
        """Q, K and V as one: interleaved per head, [n_heads * 3 * d_head ...] (GPT-NeoX), or one after another."""
        attention = self.model.bridge.blocks[layer].attn
        pieces = [getattr(getattr(attention, kind), part).detach() for kind in "qkv"]  # each [n_heads*d_head ...]
        if self.model.layout.packing == "rows_qkv":
            return torch.cat(pieces)
        heads = [p.reshape(self.model.record.n_heads, 1, self.model.record.d_head, *p.shape[1:]) for p in pieces]
        return torch.cat(heads, dim=1).reshape(-1, *pieces[0].shape[1:])


def _idle(model: Model) -> set[int]:
    """Addresses of the tensors of MLPs whose weights are all zero (a model without MLPs in a GPT-2 file): kept zero."""
    found: set[int] = set()
    for layer in range(model.record.n_layers):
        starts = tuple(f"{model.layout.at(layer, module)}." for module in model.layout.mlp)
        mlp = [tensor for name, tensor in own_tensors(model).items() if starts and name.startswith(starts)]
        if not any(bool(tensor.any()) for tensor in mlp):
            found |= {tensor.data_ptr() for tensor in mlp}
    return found


def loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Mean next-token loss in nats of logits [batch pos vocab] on ids [batch pos]."""
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())


def divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """[batch pos] KL(reference || model) in nats of two logits [batch pos vocab]."""
    wanted, found = reference.float().log_softmax(-1), logits.float().log_softmax(-1)
    return functional.kl_div(found, wanted, reduction="none", log_target=True).sum(-1)

"""A model in training: its trainable tensors, and one forward pass with gates. Two ways to the same numbers.

general  hooks on the bridge: any supported family on any device
plain    plain operations on the same tensors (Gpt2, Llama), faster; tests hold it to the general way

Either trains all weights, or only those of queries and keys (`train` "qk"): what decides which edges there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from reportgen.errors import NotApplicable
from reportgen.models.model import Model
from reportgen.suites.sparse.scoring import gates
from reportgen.suites.sparse.scoring.gates import MASKED, Gate, Noise, straight_through, uniform_of

# A plain GPT-2 with gates, for training speed: the same loss and gradients as the general path, in fewer operations.
#
# It holds no weights: it computes with the tensors of a state dict under Hugging Face's names. MLPs whose weights are
# all zero (the bundled model's, after the first layer) are skipped; training leaves them zero.

_PLAIN_GPT2 = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False,
          "activation_function": "gelu_new", "add_cross_attention": False}  # fmt: skip


def fits_gpt2(config: Any) -> bool:
    """Whether this file computes what a config asks for."""
    return config.model_type == "gpt2" and all(
        getattr(config, key, value) == value for key, value in _PLAIN_GPT2.items()
    )


class Gpt2:
    """The forward pass over `tensors` (Hugging Face names, float32)."""

    def __init__(self, tensors: Mapping[str, Tensor], config: Any) -> None:
        self.tensors = tensors
        self.n_layers, self.n_heads, self.epsilon = config.n_layer, config.n_head, config.layer_norm_epsilon
        self.has_mlp = [self._is_used(layer) for layer in range(self.n_layers)]
        device = tensors["transformer.wte.weight"].device
        self.mask = torch.full((config.n_positions, config.n_positions), -math.inf, device=device).triu(1)

    def _is_used(self, layer: int) -> bool:
        names = (f"transformer.h.{layer}.mlp.c_proj.{part}" for part in ("weight", "bias"))
        return any(bool(self.tensors[name].any()) for name in names)

    def __call__(self, ids: Tensor, gate: Gate | None, noise: Noise | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """ids [batch pos] -> (logits [batch pos vocab], expected edges [layer head], open edges [layer head]).

        Edges are means per token. `gate` None: every edge; with `noise` the gates pass gradients on.
        """
        x = functional.embedding(ids, self.tensors["transformer.wte.weight"])
        x = x + self.tensors["transformer.wpe.weight"][: ids.shape[1]]
        expected, opened = [], []
        for layer in range(self.n_layers):
            out, wanted, found = self._attention(layer, self._norm(f"h.{layer}.ln_1", x), gate, noise)
            x = x + out
            expected.append(wanted)
            opened.append(found)
            if self.has_mlp[layer]:
                x = x + self._mlp(layer, self._norm(f"h.{layer}.ln_2", x))
        unembedding = self.tensors.get("lm_head.weight", self.tensors["transformer.wte.weight"])
        logits = functional.linear(self._norm("ln_f", x), unembedding)
        return logits, torch.stack(expected), torch.stack(opened)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = (self.tensors[f"transformer.{name}.{part}"] for part in ("weight", "bias"))
        return functional.layer_norm(x, (x.shape[-1],), weight, bias, self.epsilon)

    def _linear(self, layer: int, name: str, x: Tensor) -> Tensor:
        weight, bias = (self.tensors[f"transformer.h.{layer}.{name}.{part}"] for part in ("weight", "bias"))
        return functional.linear(x, weight.T, bias)  # GPT-2 keeps weights [d_in d_out]

    def _mlp(self, layer: int, x: Tensor) -> Tensor:
        hidden = functional.gelu(self._linear(layer, "mlp.c_fc", x), approximate="tanh")
        return self._linear(layer, "mlp.c_proj", hidden)

    def _attention(
        self, layer: int, x: Tensor, gate: Gate | None, noise: Noise | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(output [batch pos d_model], expected edges [head], open edges [head]), edges per token."""
        batch, n, width = x.shape
        joint = self._linear(layer, "attn.c_attn", x).view(batch, n, 3, self.n_heads, width // self.n_heads)
        q, k, v = joint.permute(2, 0, 3, 1, 4)  # each [batch head pos d_head]
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)) + self.mask[:n, :n]
        pattern = scores.softmax(-1)  # [batch head query key]
        tokens = batch * n
        if gate is None:
            expected = opened = torch.full((self.n_heads,), (n + 1) / 2, device=x.device)
        elif noise is None:
            gates = gate.opened(scores)
            pattern = pattern * gates
            expected = opened = gates.sum((0, 2, 3)) / tokens
        else:
            gates, probability = straight_through(scores, gate.bias, uniform_of(noise, scores))
            pattern = pattern * gates
            expected, opened = probability.sum((0, 2, 3)) / tokens, gates.detach().sum((0, 2, 3)) / tokens
        z = torch.matmul(pattern, v).transpose(1, 2).reshape(batch, n, width)
        return self._linear(layer, "attn.c_proj", z), expected, opened


# A plain Llama with gates, for training speed: rotary positions, grouped queries, RMSNorm, gated MLP.
#
# It holds no weights: it computes with the tensors of a state dict under Hugging Face's names. Queries, keys, scores
# and gates are always float32: they decide which gates open. With `number` bfloat16, the other products read a copy of
# their frozen weights in that type, made once; a weight that is trained is never rounded.

_PLAIN_LLAMA = {"hidden_act": "silu", "mlp_bias": False, "pretraining_tp": 1}


def fits_llama(config: Any) -> bool:
    """Whether this file computes what a config asks for."""
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type == "llama"
        and rope.get("rope_type", "default") == "default"
        and all(getattr(config, key, value) == value for key, value in _PLAIN_LLAMA.items())
    )


class Llama:
    """The forward pass over `tensors` (Hugging Face names, float32)."""

    def __init__(self, tensors: Mapping[str, Tensor], config: Any, number: torch.dtype = torch.float32) -> None:
        self.tensors, self.number = tensors, number
        self.n_layers, self.n_heads = config.num_hidden_layers, config.num_attention_heads
        self.n_kv = config.num_key_value_heads or self.n_heads
        self.d_head = getattr(config, "head_dim", None) or config.hidden_size // self.n_heads
        self.epsilon = config.rms_norm_eps
        self.device = tensors["model.embed_tokens.weight"].device
        self.frequencies = _frequencies(config, self.d_head).to(self.device)
        self.rounded: dict[str, Tensor] = {}

    def __call__(self, ids: Tensor, gate: Gate | None, noise: Noise | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """ids [batch pos] -> (logits [batch pos vocab], expected edges [layer head], open edges [layer head]).

        Edges are means per token. `gate` None: every edge; with `noise` the gates pass gradients on.
        """
        x = functional.embedding(ids, self.tensors["model.embed_tokens.weight"])
        turn = self._turn(ids.shape[1])
        mask = torch.full((ids.shape[1],) * 2, -math.inf, device=self.device).triu(1)
        expected, opened = [], []
        for layer in range(self.n_layers):
            out, wanted, found = self._attention(layer, x, (turn, mask), gate, noise)
            x = x + out
            x = x + self._mlp(layer, x)
            expected.append(wanted)
            opened.append(found)
        return self.unembedded(self._norm("model.norm", x)), torch.stack(expected), torch.stack(opened)

    def unembedded(self, x: Tensor) -> Tensor:
        """Logits [batch pos vocab] of normalised final states [batch pos d_model]."""
        tied = "lm_head" if "lm_head.weight" in self.tensors else "model.embed_tokens"
        return self._linear(tied, x)

    def seen(self, layer: int, x: Tensor, scores: Tensor) -> None:
        """Called with what a layer's attention reads [batch pos d_model] and its masked scores; for subclasses."""

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.tensors[f"{name}.weight"], self.epsilon)

    def _linear(self, name: str, x: Tensor, *, exact: bool = False) -> Tensor:
        """x times a weight, in `number` where that weight is frozen and not `exact`; the result is float32."""
        weight, bias = self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias")
        if exact or weight.requires_grad or self.number == torch.float32:
            return functional.linear(x, weight, bias)
        if name not in self.rounded:
            self.rounded[name] = weight.detach().to(self.number)
        out = functional.linear(x.to(self.number), self.rounded[name]).float()
        return out if bias is None else out + bias

    def _mlp(self, layer: int, x: Tensor) -> Tensor:
        at = f"model.layers.{layer}"
        x = self._norm(f"{at}.post_attention_layernorm", x)
        hidden = functional.silu(self._linear(f"{at}.mlp.gate_proj", x)) * self._linear(f"{at}.mlp.up_proj", x)
        return self._linear(f"{at}.mlp.down_proj", hidden)

    def _turn(self, n: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of rotary positions, each [pos d_head]."""
        angles = torch.arange(n, device=self.device)[:, None] * self.frequencies
        both = torch.cat((angles, angles), dim=-1)
        return both.cos(), both.sin()

    def _heads(self, name: str, x: Tensor, count: int, *, exact: bool) -> Tensor:
        """[batch head pos d_head] of a projection."""
        batch, n, _ = x.shape
        return self._linear(name, x, exact=exact).view(batch, n, count, self.d_head).transpose(1, 2)

    def _attention(
        self, layer: int, x: Tensor, places: tuple[tuple[Tensor, Tensor], Tensor], gate: Gate | None,
        noise: Noise | None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """(output [batch pos d_model], expected edges [head], open edges [head]), edges per token."""
        batch, n, _ = x.shape
        at = f"model.layers.{layer}"
        turn, mask = places
        x = self._norm(f"{at}.input_layernorm", x)
        q = _rotated(self._heads(f"{at}.self_attn.q_proj", x, self.n_heads, exact=True) * self.d_head**-0.5, turn)
        k = _rotated(self._heads(f"{at}.self_attn.k_proj", x, self.n_kv, exact=True), turn)
        v = self._heads(f"{at}.self_attn.v_proj", x, self.n_kv, exact=False)
        # queries of one group stand together, so that keys and values need no copies: [batch kv group*query d_head]
        grouped = q.reshape(batch, self.n_kv, -1, self.d_head)
        scores = torch.matmul(grouped, k.transpose(-1, -2)).view(batch, self.n_heads, n, n) + mask
        self.seen(layer, x, scores)
        pattern, expected, opened = _gated(scores, gate, noise)
        z = torch.matmul(pattern.view(batch, self.n_kv, -1, n), v).view(batch, self.n_heads, n, self.d_head)
        return self._linear(f"{at}.self_attn.o_proj", z.transpose(1, 2).reshape(batch, n, -1)), expected, opened


def _frequencies(config: Any, d_head: int) -> Tensor:
    """[d_head / 2] radians a position."""
    base = float((getattr(config, "rope_parameters", None) or {}).get("rope_theta", 10_000.0))
    return 1.0 / base ** (torch.arange(0, d_head, 2, dtype=torch.int64).float() / d_head)


def _rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * turn[0] + torch.cat((-second, first), dim=-1) * turn[1]


def _gated(scores: Tensor, gate: Gate | None, noise: Noise | None) -> tuple[Tensor, Tensor, Tensor]:
    """(pattern [batch head query key], expected edges [head], open edges [head]) of masked scores."""
    batch, heads, n, _ = scores.shape
    pattern, tokens = scores.softmax(-1), batch * n
    if gate is None:
        every = torch.full((heads,), (n + 1) / 2, device=scores.device)
        return pattern, every, every
    if noise is None:
        gates = gate.opened(scores)
        opened = gates.sum((0, 2, 3)) / tokens
        return pattern * gates, opened, opened
    gates, probability = straight_through(scores, gate.bias, uniform_of(noise, scores))
    return pattern * gates, probability.sum((0, 2, 3)) / tokens, gates.detach().sum((0, 2, 3)) / tokens


ALL, QK = "all", "qk"  # what may be trained


@dataclass(frozen=True, eq=False)
class GatedPass:
    """One forward pass: logits [batch pos vocab]; expected and open edges per token [layer head]."""

    logits: Tensor
    expected: Tensor
    opened: Tensor


class Trainee(Protocol):
    """What training steps. `parameters` are leaves by name; `tensors()` are the weights by Hugging Face's names."""

    parameters: dict[str, Tensor]

    def __call__(self, ids: Tensor, gate: Gate | None, noise: Noise | None = None) -> GatedPass: ...
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
    if not general and fits_llama(model.config):
        return _Plain(model, train, number)
    if not general and train == ALL and fits_gpt2(model.config):  # its joint Q, K and V are trained as one
        return _Plain(model, train, number)
    return _Bridged(model, train)


class _Plain:
    def __init__(self, model: Model, train: str, number: torch.dtype) -> None:
        self._tensors = {name: tensor for name, tensor in own_tensors(model).items() if tensor.is_floating_point()}
        frozen = _idle(model)
        unread: tuple[str, ...] = ()
        if fits_gpt2(model.config):
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

    def __call__(self, ids: Tensor, gate: Gate | None, noise: Noise | None = None) -> GatedPass:
        return GatedPass(*self.network(ids, gate, noise))

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

    def __call__(self, ids: Tensor, gate: Gate | None, noise: Noise | None = None) -> GatedPass:
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
        return GatedPass(logits, torch.stack(expected), torch.stack(opened))

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

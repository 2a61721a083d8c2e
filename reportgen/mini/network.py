"""The network that training steps: GPT-2's mathematics, an MLP in the first layer only.

- Parameters carry Hugging Face GPT-2's names and shapes, so export and import are plain state dicts.
- The later layers' MLPs are zero and left out; export writes the zeros, which makes it an ordinary GPT-2 folder.
- Attention is two matrix products and a softmax: at d_head 16 and 128 tokens that is faster than the fused kernel.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from reportgen.errors import ModelError

# The two recipes: AdamW for every parameter, or Muon for the matrices inside the layers and AdamW for the rest.

OPTIMIZERS = ("adamw", "muon")
# Coefficients of the quintic Newton-Schulz step (Jordan et al. 2024, 'Muon: an optimizer for hidden layers').
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
# Scales an orthogonal update to the root mean square of an AdamW update, so both share one learning rate (Liu et al.
# 2025, 'Muon is scalable for LLM training').
MATCHED_RMS = 0.2


class Muon(Optimizer):
    """Momentum, orthogonalised, for 2-D weights. c_attn [d_model 3 d_model] counts as three square ones (Q, K, V)."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient. `closure` is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            pieces: list[Tensor] = []
            owners: list[Tensor] = []
            for p in params:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                look_ahead = torch.lerp(p.grad, buffer, group["momentum"])  # Nesterov
                rows, columns = p.shape
                count = 3 if columns == 3 * rows else 1
                pieces += look_ahead.chunk(count, dim=1)
                owners += p.chunk(count, dim=1)
            for shape in {piece.shape: None for piece in pieces}:  # one batch per shape, in a fixed order
                chosen = [i for i, piece in enumerate(pieces) if piece.shape == shape]
                updates = orthogonalize(torch.stack([pieces[i] for i in chosen]))
                for i, update in zip(chosen, updates, strict=True):
                    owners[i].add_(update, alpha=-group["lr"] * MATCHED_RMS * math.sqrt(max(shape)))


def orthogonalize(matrices: Tensor) -> Tensor:
    """matrices [n rows columns] -> nearly the nearest semi-orthogonal ones, singular values in about 0.7-1.2."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT  # [n rows rows]
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


def build_optimizer(
    network: Network, name: str, lr: float, betas: tuple[float, float], weight_decay: float
) -> list[Optimizer]:
    """Optimizers that together own every parameter once; `name` is one of NAMES. Weight decay on matrices only."""
    named = list(network.named_parameters())
    vectors = [p for _, p in named if p.ndim < 2]
    embeddings = [p for key, p in named if p.ndim == 2 and not key.startswith("h.")]
    inner = [p for key, p in named if p.ndim == 2 and key.startswith("h.")]
    decayed = embeddings + (inner if name == "adamw" else [])
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizers: list[Optimizer] = [AdamW(groups, lr=lr, betas=betas, fused=True)]
    if name == "muon":
        optimizers.append(Muon(inner, lr, momentum=0.95, weight_decay=weight_decay))
    return optimizers


EPSILON = 1e-5  # GPT-2's LayerNorm epsilon
IGNORED = -100  # cross_entropy's label for positions without a target
HINT = "Train one with reportgen mini train --out DIR."


@dataclass(frozen=True)
class Shape:
    """Sizes of the network, under the names of GPT2Config."""

    vocab_size: int
    n_positions: int = 128
    n_embd: int = 128
    n_layer: int = 6
    n_head: int = 8
    n_inner: int = 256  # of the first layer's MLP, the only one


class Linear(nn.Module):
    """GPT-2's Conv1D: x @ weight [d_in d_out] + bias [d_out]."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_in, d_out))
        self.bias = nn.Parameter(torch.zeros(d_out))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.T, self.bias)


class Attention(nn.Module):
    """Causal self-attention with the query, key and value weights side by side in c_attn."""

    mask: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_head = shape.n_head
        self.c_attn = Linear(shape.n_embd, 3 * shape.n_embd)
        self.c_proj = Linear(shape.n_embd, shape.n_embd)
        mask = torch.full((shape.n_positions, shape.n_positions), -math.inf).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [batch pos d_model] -> (output [batch pos d_model], pattern [batch head query key])."""
        batch, n, width = x.shape
        d_head = width // self.n_head
        joint = self.c_attn(x).view(batch, n, 3, self.n_head, d_head)
        q, k, v = joint.permute(2, 0, 3, 1, 4)  # each [batch head pos d_head]
        scores = torch.matmul(q * d_head**-0.5, k.transpose(-1, -2))  # [batch head query key]
        pattern = (scores + self.mask[:n, :n]).softmax(-1)
        z = torch.matmul(pattern.to(v.dtype), v)  # [batch head pos d_head]
        return self.c_proj(z.transpose(1, 2).reshape(batch, n, width)), pattern


class MLP(nn.Module):
    """c_fc, gelu_new, c_proj."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.c_fc = Linear(shape.n_embd, shape.n_inner)
        self.c_proj = Linear(shape.n_inner, shape.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(functional.gelu(self.c_fc(x), approximate="tanh"))
        return out


class Block(nn.Module):
    """One layer; only the first has an MLP."""

    def __init__(self, shape: Shape, has_mlp: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(shape.n_embd, EPSILON)
        self.attn = Attention(shape)
        self.ln_2 = nn.LayerNorm(shape.n_embd, EPSILON) if has_mlp else None
        self.mlp = MLP(shape) if has_mlp else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out, pattern = self.attn(self.ln_1(x))
        x = x + out
        if self.mlp is not None and self.ln_2 is not None:
            x = x + self.mlp(self.ln_2(x))
        return x, pattern


class Network(nn.Module):
    """The whole model. `seed` fixes the initial weights (GPT-2's: 0.02, residual projections by 1/sqrt(2 n_layer))."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.vocab_size, shape.n_embd)
        self.wpe = nn.Embedding(shape.n_positions, shape.n_embd)
        self.h = nn.ModuleList(Block(shape, has_mlp=layer == 0) for layer in range(shape.n_layer))
        self.ln_f = nn.LayerNorm(shape.n_embd, EPSILON)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim == 2:
                    scale = (2 * shape.n_layer) ** -0.5 if name.endswith("c_proj.weight") else 1.0
                    parameter.normal_(0.0, 0.02 * scale, generator=generator)

    def forward(self, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        """ids [batch pos] -> (logits [batch pos vocab], one pattern [batch head query key] per layer)."""
        x = functional.embedding(ids, self.wte.weight) + self.wpe.weight[: ids.shape[1]]
        patterns = []
        for block in self.h:
            x, pattern = block(x)
            patterns.append(pattern)
        return functional.linear(self.ln_f(x), self.wte.weight), patterns

    def loss(self, ids: Tensor) -> Tensor:
        """Mean next-token loss in nats over ids [batch pos]."""
        logits, _ = self(ids)
        targets = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], IGNORED)], dim=1)
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED)

    @property
    def blocks(self) -> list[Block]:
        """The layers, typed."""
        return [block for block in self.h if isinstance(block, Block)]

    def first_mlp_embedding(self) -> Tensor:
        """E = MLP_0(LN2_0(W_E)) [vocab d_model]: the token as the later layers' OV circuits meet it."""
        first = self.blocks[0]
        assert first.mlp is not None
        assert first.ln_2 is not None
        out: Tensor = first.mlp(first.ln_2(self.wte.weight))
        return out


def load(folder: Path) -> Network:
    """Network from an exported folder, float32. ModelError when its MLPs after the first are not zero."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
        shape = Shape(**{name: int(config[name]) for name in Shape.__dataclass_fields__})
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise ModelError(f"{folder} has no trained model: {error}.", HINT) from None
    network = Network(shape)
    wanted = network.state_dict()
    for name, tensor in tensors.items():
        short = name.removeprefix("transformer.")
        if short in wanted:
            if tensor.shape != wanted[short].shape:
                raise ModelError(f"{name} in {folder} has shape {tuple(tensor.shape)}.", HINT)
            wanted[short] = tensor.float()
        elif ".mlp.c_proj." in name and bool(tensor.any()):
            raise ModelError(f"{name} in {folder} is not zero: only the first layer may have an MLP.", HINT)
    network.load_state_dict(wanted)
    network.train(False)
    return network


def hugging_face(network: Network, end_id: int) -> Any:
    """A transformers.GPT2LMHeadModel (float32) with the same logits: later MLPs zero, `end_id` its BOS and EOS."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = network.shape
    config = GPT2Config(
        **{name: getattr(shape, name) for name in Shape.__dataclass_fields__},
        activation_function="gelu_new",
        layer_norm_epsilon=EPSILON,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=True,
        bos_token_id=end_id,
        eos_token_id=end_id,
    )
    model = GPT2LMHeadModel(config)
    target = model.transformer.state_dict()
    source = network.state_dict()
    for name in target:
        if name in source:
            target[name] = source[name].detach().float().clone()
        elif ".mlp." in name:
            target[name] = torch.zeros_like(target[name])
    model.transformer.load_state_dict(target)
    model.tie_weights()
    model.train(False)
    return model

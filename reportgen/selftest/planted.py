"""Weights in memory, as a static score sees a model's: what the self-test plants relations and pairs of heads in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.manifest import ModelRecord
from reportgen.models.rotary import Rotary


@dataclass
class PlainTokens:
    """Words 'w0', 'w1', ... are token 0, 1, ...; every other word is several tokens."""

    d_vocab: int
    bos_id: int | None = None
    unk_id: int | None = None

    @property
    def size(self) -> int:
        return self.d_vocab

    def word_id(self, word: str) -> int | None:
        number = int(word[1:]) if word[:1] == "w" and word[1:].isdigit() else -1
        return number if 0 <= number < self.d_vocab else None

    def text(self, token: int) -> str:
        return f" w{token}"

    def document_mark(self) -> int | None:
        return None


@dataclass
class PlainWeights:
    """The `Weights` protocol over tensors given directly."""

    E: Tensor  # [vocab d_model]
    V: Tensor  # [layer n_kv d_model d_head]
    O: Tensor  # [layer n_heads d_head d_model]  # noqa: E741
    U: Tensor  # [d_model vocab]
    mlp: Tensor | None = None  # [vocab d_model], MLP_0(LN2_0(e)) of every token
    ln1: Tensor | None = None  # [layer d_model]
    final: Tensor | None = None
    post: Tensor | None = None
    Q: Tensor | None = None  # [layer n_heads d_model d_head]; None: zeros
    K: Tensor | None = None  # [layer n_kv d_model d_head]
    turn: Rotary | None = None  # of every layer
    centres: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def tokens(self) -> Any:  # a Tokens, as far as static scores ask
        return PlainTokens(self.E.shape[0])

    @property
    def record(self) -> ModelRecord:
        n_layers, n_heads, d_head, d_model = self.O.shape
        return ModelRecord(
            id="plain",
            slug="plain",
            source="selftest",
            revision="",
            content_hash="0",
            family="plain",
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=self.V.shape[1],
            d_model=d_model,
            d_head=d_head,
            d_vocab=self.U.shape[1],
            n_ctx=8,
            n_params=0,
            dtype="float32",
            weights="raw",
            bos="none",
            synthetic=True,
        )

    def embed(self, ids: Tensor) -> Tensor:
        return self.E[ids]

    def first_mlp(self, ids: Tensor) -> Tensor:
        if self.mlp is None:
            raise NotApplicable("no norm feeds an MLP in block 0")
        return self.mlp[ids]

    def W_V(self, layer: int) -> Tensor:  # noqa: N802
        return self.V[layer]

    def W_O(self, layer: int) -> Tensor:  # noqa: N802
        return self.O[layer]

    def W_U(self, *, own: bool = False) -> Tensor:  # noqa: N802
        return self.U.clone() if own else self.U

    def W_Q(self, layer: int) -> Tensor:  # noqa: N802
        return torch.zeros_like(self.O[layer]).mT if self.Q is None else self.Q[layer]

    def W_K(self, layer: int) -> Tensor:  # noqa: N802
        return torch.zeros_like(self.V[layer]) if self.K is None else self.K[layer]

    def b_Q(self, layer: int) -> Tensor | None:  # noqa: N802
        return None

    def b_K(self, layer: int) -> Tensor | None:  # noqa: N802
        return None

    def qk_norm_scales(self, layer: int) -> tuple[Tensor | None, Tensor | None]:
        return None, None

    def rotary(self, layer: int) -> Rotary | None:
        return self.turn

    def first_block(self, ids: Tensor) -> Tensor:
        return self.embed(ids) + self.first_mlp(ids)

    def first_position(self, token: int) -> Tensor:
        raise NotApplicable("there is no block to run")

    def ln1_scale(self, layer: int) -> Tensor | None:
        return None if self.ln1 is None else self.ln1[layer]

    def final_scale(self) -> Tensor | None:
        return self.final

    def post_attn_scale(self, layer: int) -> Tensor | None:
        return None if self.post is None else self.post[layer]


def random_weights(
    seed: int,
    *,
    vocab: int = 200,
    d_model: int = 16,
    d_head: int = 4,
    layers: int = 2,
    heads: int = 3,
    kv: int = 3,
    queries: bool = False,
) -> PlainWeights:
    """Gaussian weights; first_mlp is a second table of vectors; with `queries` also W_Q and W_K."""
    g = torch.Generator().manual_seed(seed)
    made = PlainWeights(
        E=torch.randn(vocab, d_model, generator=g),
        V=torch.randn(layers, kv, d_model, d_head, generator=g),
        O=torch.randn(layers, heads, d_head, d_model, generator=g),
        U=torch.randn(d_model, vocab, generator=g),
        mlp=torch.randn(vocab, d_model, generator=g),
    )
    if queries:
        made.Q = torch.randn(layers, heads, d_model, d_head, generator=g)
        made.K = torch.randn(layers, kv, d_model, d_head, generator=g)
    return made


def two_planes(d_head: int = 4) -> Rotary:
    """Rotary positions that pair i with i + d_head/2; within 8 positions the first plane goes round, no other does."""
    half = torch.arange(d_head // 2)
    return Rotary(torch.stack([half, half + d_head // 2]), torch.where(half == 0, 1.0, 0.5).double())

"""An attention-only model written by hand on TransformerLens's native bridge: no norms, no MLPs.

    ... a b ... a  ->  b

L0H0 reads the previous token. L1H0, an induction head, finds the token after the earlier copy of a and asks for it. The
mover L2H0 finds the token asked for and writes it to the logits. Decoys: L0H1 always stands three back, L1H1 copies the
token that it stands on, L2H1 copies the one two back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from reportgen.errors import NotApplicable
from reportgen.models.model import Model
from reportgen.models.tokens import Tokens
from reportgen.suites.circuits.tasks.task import Mover, Pair, Task, copies
from tests.fixtures import model_record
from tests.tiny import word_tokenizer

WORDS = [f"w{chr(97 + i)}" for i in range(16)]
POSITIONS = 14
HEADS, D_HEAD = 2, 16
PLACE, BEFORE, ASK, OUT = (16 * i for i in (1, 2, 3, 4))  # after the 16 dimensions of a word's identity
D_MODEL = 80
Weights = Iterable[tuple[int, int, float]]  # (residual dimension, head dimension, weight)
_SHARP = 200.0  # attention logits stand this far apart, times the scale of 1/4


class Toy(Model):
    """The toy as a suite sees a model."""

    def __init__(self, bridge: TransformerBridge, tokens: Tokens) -> None:
        self.bridge, self.tokens = bridge, tokens
        self.record = model_record(
            3, HEADS, d_model=D_MODEL, d_head=D_HEAD, d_vocab=tokens.size, n_ctx=POSITIONS, family="native"
        )
        self.device, self.config = torch.device("cpu"), object()

    @property
    def can_edit_pattern(self) -> bool:
        return True

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.bridge.W_E[ids]

    def first_mlp(self, ids: torch.Tensor) -> torch.Tensor:
        raise NotApplicable("there is no MLP")

    def W_V(self, layer: int) -> torch.Tensor:
        return self.bridge.W_V[layer]

    def W_O(self, layer: int) -> torch.Tensor:
        return self.bridge.W_O[layer]

    def b_O(self, layer: int) -> None:
        return None

    def W_U(self) -> torch.Tensor:
        return self.bridge.W_U.contiguous()

    def final_scale(self) -> None:
        return None

    def post_attn_scale(self, layer: int) -> None:
        return None


def toy() -> Toy:
    """The model; its tokenizer knows the sixteen words."""
    tokens = Tokens(word_tokenizer(WORDS))
    config = TransformerBridgeConfig(
        architecture="TransformerLensNative", attn_only=True, normalization_type=None, n_layers=3, n_heads=HEADS,
        d_model=D_MODEL, d_head=D_HEAD, n_ctx=POSITIONS, d_vocab=tokens.size, act_fn="relu",
        positional_embedding_type="standard",
    )  # fmt: skip
    bridge = TransformerBridge.boot_native(config)
    for parameter in bridge.parameters():
        parameter.requires_grad_(False).zero_()
    ids = [tokens.word_id(word) for word in WORDS]
    weights = dict(bridge.named_parameters())
    for i, token in enumerate(ids):
        weights["tok_embed._original_component.weight"][token, i] = 1.0
        weights["head._original_component.weight"][token, OUT + i] = 1.0
    for at in range(POSITIONS):
        weights["pos._original_component.weight"][at, PLACE + at] = 1.0
    here = [(PLACE + at, at, 1.0) for at in range(POSITIONS)]
    own = [(i, i, 1.0) for i in range(16)]

    def back(steps: int) -> list[tuple[int, int, float]]:
        return [(PLACE + at, at - steps, _SHARP) for at in range(steps, POSITIONS)]

    _head(weights, 0, 0, back(1), here, own, [(BEFORE + i, i, 1.0) for i in range(16)])
    _head(weights, 0, 1, back(3), here, own, [(D_MODEL - 1, i, 0.1) for i in range(16)])  # to where nobody reads
    asks = [*((ASK + i, i, 1.0) for i in range(16)), *((OUT + i, i, 0.002) for i in range(16))]
    _head(weights, 1, 0, [(i, i, _SHARP) for i in range(16)], [(BEFORE + i, i, 1.0) for i in range(16)], own, asks)
    _head(weights, 1, 1, back(0), here, own, [(OUT + i, i, 0.5) for i in range(16)])
    _head(weights, 2, 0, [(ASK + i, i, _SHARP) for i in range(16)], own, own, [(OUT + i, i, 4.0) for i in range(16)])
    _head(weights, 2, 1, back(2), here, own, [(OUT + i, i, 0.5) for i in range(16)])
    return Toy(bridge, tokens)


def _head(
    weights: dict[str, torch.Tensor], layer: int, head: int, q: Weights, k: Weights, v: Weights, o: Weights
) -> None:
    block = f"layers.{layer}._original_component.attn._original_component"
    for part, entries in (("q", q), ("k", k), ("v", v)):
        for residual, inner, weight in entries:
            weights[f"{block}.{part}._original_component.weight"][head * D_HEAD + inner, residual] = weight
    for residual, inner, weight in o:
        weights[f"{block}.o._original_component.weight"][residual, head * D_HEAD + inner] = weight


def induction_task(tokens: Tokens, count: int = 64) -> Task:
    """Pairs of seven to ten words, the last of which stood before; corrupted: two fresh words in its earlier place.

    The earlier copy stands five back or more, out of reach of the heads of fixed distance.
    """
    rng = np.random.default_rng(0)
    ids = [tokens.word_id(word) or 0 for word in WORDS]
    pairs = []
    for index in range(count):
        length = 7 + index % 4
        words = [ids[i] for i in rng.permutation(16)]
        at = int(rng.integers(0, length - 5))
        clean = [*words[: length - 1], words[at]]
        corrupted = list(clean)
        corrupted[at : at + 2] = words[length : length + 2]
        roles = {"answer": at + 1, "first": at, "foil": at + 2, "END": length - 1}
        pairs.append(
            Pair(
                tuple(clean), tuple(corrupted), (clean[at + 1],), (clean[at + 2],), roles, index % 4, f"prompt {index}"
            )
        )
    names: Sequence[str] = ("lengths 7", "8", "9", "10")
    attended = ("answer", "first", "foil")
    return Task("induction", "Induction", "logit_diff", tuple(pairs), tuple(names), attended, ("foil",), copies(ids),
                tuple(ids), Mover())  # fmt: skip

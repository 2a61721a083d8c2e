"""A checkpoint whose heads are written by hand, in any family: what each score must find is known exactly.

Three layers of four heads, d_model 128, d_head 32. Every token is a dimension of its own (E = U' = I), norms have no
scale, block 0's MLP hands a token on and its heads do nothing. SHOWN words are suppressed; see `write`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reportgen.models.weights import LAYOUTS
from tests.tiny import tiny_folder

NUMBERS = "one two three four five six seven eight nine ten".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
PLAIN = (
    "Mary John Paul Kate Lucy Mark Jane house book table king queen woman night store garden drink said story".split()
)
WORDS = (*NUMBERS, *DAYS, *PLAIN)
LATE = 2  # days, from the end, that the successor head does not know
D, D_HEAD, SHOWN = 128, 32, 24
_ROWS = {"hidden_size": D, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 64}
FIELDS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": D, "n_layer": 3, "n_head": 4, "n_inner": D},
    "llama": {**_ROWS, "intermediate_size": D, "num_key_value_heads": 2, "tie_word_embeddings": False},
    "gpt_neox": {**_ROWS, "intermediate_size": D},
}


def ids(folder: Path) -> dict[str, int]:
    """Word -> id of the token with its leading space."""
    from reportgen.models.load import inspect

    tokens = inspect(str(folder))[2]
    return {word: found for word in WORDS if (found := tokens.word_id(word)) is not None}


def write(family: str, folder: Path) -> Path:
    """Write it and return the folder.

    L1H0  suppressor: lowers each of the SHOWN words and looks for it        L1H1  copier; its queries find nothing
    L1H2  successor, all but the last LATE days                              L1H3  predecessor
    L2H0  identity on 32 dimensions                                          L2H1  the same dimensions, moved on by one
    L2H2, L2H3  keys read what L1H0 and L1H1 write; L2H0 and L2H1's read dimensions that nobody writes
    Values of L1 and L2H0, L2H1 read words; those of L2H2 and L2H3 dimensions of no word
    """
    tiny_folder(family, folder, words=WORDS, **FIELDS[family])
    tensors = {name: torch.zeros_like(t) for name, t in load_file(folder / "model.safetensors").items()}
    layout = LAYOUTS[family]
    for name in tensors:
        if "norm" in name or ".ln_" in name:
            tensors[name].fill_(1.0 if name.endswith("weight") else 0.0)
    for name in (layout.embed, *layout.unembed):
        if f"{name}.weight" in tensors:
            tensors[f"{name}.weight"] += torch.eye(D)[: len(tensors[f"{name}.weight"])]
    for name in tensors:
        if name.startswith(layout.at(0, "mlp")) and name.endswith("weight"):
            tensors[name] += torch.eye(D)
    at = ids(folder)
    words = list(at.values())[:SHOWN]
    shown, steps = _picks(words), [at[word] for word in (*NUMBERS, *DAYS)]
    read = _picks(steps)
    known = _orders(NUMBERS, at), _orders([*DAYS, DAYS[0]], at)
    forward = [*known[0], *known[1][: len(DAYS) - LATE]]
    backward = [(b, a) for pair_list in known for a, b in pair_list]
    eye = torch.eye(D)
    moved = torch.zeros(D_HEAD, D)
    moved[range(D_HEAD), [(i + 1) % D_HEAD for i in range(D_HEAD)]] = 1.0
    first, others = eye[:, :D_HEAD], _picks(unread(at))
    plan = {
        (1, 0): (shown, shown, shown, -shown.T), (1, 1): (0 * shown, shown, shown, shown.T),
        (1, 2): (read, read, read, _steps(forward, steps)), (1, 3): (read, read, read, _steps(backward, steps)),
        (2, 0): (shown, others, first, first.T), (2, 1): (shown, others, first, moved),
        (2, 2): (others, shown, others, 0.01 * shown.T), (2, 3): (others, shown, others, 0.01 * shown.T),
    }  # fmt: skip
    for (layer, head), maps in plan.items():
        _put(tensors, family, layer, head, *maps)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def unread(at: dict[str, int]) -> range:
    """Dimensions of no word, which the values of L2H2 and L2H3 read."""
    return range(len(at) * 2, len(at) * 2 + SHOWN)


def _picks(dimensions: Sequence[int]) -> Tensor:
    """[d_model d_head]: head dimension i reads residual dimension dimensions[i]."""
    out = torch.zeros(D, D_HEAD)
    out[list(dimensions), range(len(dimensions))] = 1.0
    return out


def _orders(words: Sequence[str], at: dict[str, int]) -> list[tuple[int, int]]:
    return [(at[a], at[b]) for a, b in pairwise(words)]


def _steps(pairs: Sequence[tuple[int, int]], read: Sequence[int]) -> Tensor:
    """[d_head d_model]: what was read as the first token of a pair is written as the second."""
    out = torch.zeros(D_HEAD, D)
    for source, target in pairs:
        out[list(read).index(source), target] = 1.0
    return out


def _put(tensors: dict[str, Tensor], family: str, layer: int, head: int, *maps: Tensor) -> None:
    """Write a head's W_Q, W_K, W_V and W_O; a key-value head twice, where two query heads share it."""
    Q, K, V, O = maps  # noqa: E741
    layout, rows = LAYOUTS[family], slice(head * D_HEAD, (head + 1) * D_HEAD)
    value, output = (layout.at(layer, f"{name}.weight") for name in (layout.value, layout.output))
    if family == "gpt2":
        for part, W in enumerate((Q, K, V)):
            tensors[value][:, part * D + head * D_HEAD : part * D + (head + 1) * D_HEAD] = W
        tensors[output][rows] = O
        return
    tensors[output][:, rows] = O.T
    if family == "gpt_neox":
        block = tensors[value].view(4, 3, D_HEAD, D)[head]
        for part, W in enumerate((Q, K, V)):
            block[part] = W.T
        return
    shared = slice(head // 2 * D_HEAD, (head // 2 + 1) * D_HEAD)
    tensors[value][shared] = V.T
    tensors[value.replace("v_proj", "k_proj")][shared] = K.T
    tensors[value.replace("v_proj", "q_proj")][rows] = Q.T

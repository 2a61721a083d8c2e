"""The tokens that a head changes most, and what it writes for them: the head passport's table.

After Elhelo and Geva (arXiv 2412.11965), "salient operations": sigma_t = ||x_t W_V W_O|| / ||x_t|| for every token t of
the vocabulary, x_t = e_t in layer 0 and MLP_0(LN2_0(e_t)) above (the paper's code takes the latter in layer 0, too, and
calls that accidental). The paper then asks a language model to name the pattern; we print the table and stop.

- Low rank: W_O' = Q R, so ||y W_O|| = ||y R'|| for y = x W_V, d_head numbers per token and head in place of d_model.
- The vocabulary is walked in chunks; per head only the running top is kept.
- Rare tokens: the largest sigma often belongs to tokens that training hardly touched. A second list leaves out special
  tokens, bytes that are no text, and the share `rare` of tokens whose embedding lies nearest the mean embedding
  (under-trained embeddings stay there: Land and Bartolo, arXiv 2405.05417). Both lists are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Bools, Progress
from reportgen.scores import NamedArray
from reportgen.suites.ov import Sources, sources
from reportgen.suites.relations.scoring.ranks import exact_float32
from reportgen.suites.relations.scoring.results import Pieces

if TYPE_CHECKING:
    from reportgen.models.weights import Weights

LISTS = ("all tokens", "without rare tokens")
ROWS_MIB = 64  # memory for the logits of one tile


@torch.no_grad()
def salient(
    model: Weights,
    *,
    n_tokens: int = 15,
    n_outputs: int = 5,
    rare: float = 0.02,
    first_mlp: bool = True,
    active: Bools | None = None,
    chunk: int = 2048,
    progress: Progress = lambda done, total, words: None,
) -> Pieces:
    """The n_tokens most salient tokens of every head, each with the n_outputs it raises and lowers most.

    active  [layer head] heads to describe (None: all); the others have no entry

    arrays   salient_token    [list layer head place] int32: places in `salient_words`, -1 = none
             salient_sigma    [list layer head place] float32, NaN = none
             salient_raised   [list layer head place output] int32, and salient_lowered: places in `salient_words`
             salient_words    [word] int32 token ids, labels "word": the tokens as strings
    facts    "salient": n_tokens, n_outputs, rare, n_rare (tokens left out of the second list), note
    Read them with salient_table.operations.
    """
    r = model.record
    n_vocab = min(model.tokens.size, r.d_vocab)
    alive = np.ones((r.n_layers, r.n_heads), dtype=bool) if active is None else active
    common = ~rare_tokens(model, n_vocab, rare, chunk)
    sigma, tokens = most_salient(model, n_vocab, common, n_tokens, first_mlp=first_mlp, chunk=chunk, progress=progress)
    raised = np.full((*tokens.shape, n_outputs), -1)
    lowered = raised.copy()
    W_U = model.W_U()
    for layer in range(r.n_layers):
        raised[:, layer], lowered[:, layer] = written(model, W_U, layer, tokens[:, layer], n_outputs, first_mlp, chunk)
        progress(r.n_layers + layer + 1, 2 * r.n_layers, "salient tokens, what is written")
    absent = ~alive[None, :, :, None] | ~np.isfinite(sigma)
    sigma[absent] = np.nan
    tokens[absent], raised[absent], lowered[absent] = -1, -1, -1
    facts = {
        "n_tokens": n_tokens,
        "n_outputs": n_outputs,
        "rare": rare,
        "n_rare": int((~common).sum()),
        "note": vectors(model, torch.zeros(1, dtype=torch.long), first_mlp=first_mlp).note,
    }
    return Pieces(arrays=_arrays(model, sigma, tokens, raised, lowered), facts={"salient": facts})


def vectors(model: Weights, ids: Tensor, *, first_mlp: bool) -> Sources:
    """What heads read for these tokens."""
    if first_mlp:
        return sources(model, ids.tolist())
    embedded = model.embed(ids.to(model.device))
    return Sources(ids, embedded, embedded, "first_mlp is off")


def rare_tokens(model: Weights, n_vocab: int, share: float, chunk: int = 2048) -> Bools:
    """[vocab] True for special and byte tokens, and for the share of tokens nearest the mean embedding."""
    total: Tensor | float = 0.0
    for ids in _chunks(n_vocab, chunk):
        total = total + model.embed(ids.to(model.device)).cpu().double().sum(0)
    mean = total / n_vocab
    parts = [(model.embed(ids.to(model.device)).cpu().double() - mean).norm(dim=1) for ids in _chunks(n_vocab, chunk)]
    away = torch.cat(parts).numpy()
    near = np.zeros(n_vocab, dtype=bool)
    near[np.argsort(away, kind="stable")[: int(share * n_vocab)]] = True
    near |= np.array([not_a_word(model, token) for token in range(n_vocab)], dtype=bool)
    return near


def not_a_word(model: Weights, token: int) -> bool:
    """Special tokens, single bytes and unused places, told by their text: <...>, [...] in capitals, or nothing."""
    text = model.tokens.text(token).strip()
    special = token in (model.tokens.bos_id, model.tokens.unk_id)
    marked = len(text) > 2 and ((text[0], text[-1]) == ("<", ">") or (text[0] == "[" and text[1:-1].isupper()))
    return special or marked or "\ufffd" in text


def most_salient(
    model: Weights,
    n_vocab: int,
    common: Bools,
    n_tokens: int,
    *,
    first_mlp: bool,
    chunk: int,
    progress: Progress,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """(sigma, token ids) of the most salient tokens [list layer head place]; -inf where the list is shorter."""
    r = model.record
    best = torch.full((2, r.n_layers, r.n_heads, n_tokens), -torch.inf, device=model.device)
    which = torch.full((2, r.n_layers, r.n_heads, n_tokens), -1, dtype=torch.long, device=model.device)
    keep = torch.stack([torch.ones(n_vocab, dtype=torch.bool), torch.from_numpy(common)]).to(model.device)
    maps = [(model.W_V(layer), _triangle(model.W_O(layer))) for layer in range(r.n_layers)]
    pieces = list(_chunks(n_vocab, chunk))
    with exact_float32():
        for done, ids in enumerate(pieces, start=1):
            x = vectors(model, ids, first_mlp=first_mlp)
            places = ids.to(model.device).expand(2, r.n_heads, -1)
            for layer, (W_V, R) in enumerate(maps):
                sigma = _sigma(x.at(layer), W_V, R)  # [head token]
                listed = torch.where(keep[:, None, ids[0] : ids[-1] + 1], sigma, -torch.inf)  # [list head token]
                value = torch.cat([best[:, layer], listed], dim=2)
                top = value.topk(n_tokens, dim=2)
                best[:, layer] = top.values
                which[:, layer] = torch.cat([which[:, layer], places], dim=2).gather(2, top.indices)
            progress(done * r.n_layers // len(pieces), 2 * r.n_layers, "salient tokens, norms")
    return best.cpu().numpy(), which.cpu().numpy()


def _triangle(W_O: Tensor) -> Tensor:
    """R [head d_head d_head] of W_O' = Q R. On the CPU: not every device factorises."""
    R: Tensor = torch.linalg.qr(W_O.cpu().mT.contiguous()).R
    return R.to(W_O.device)


def _sigma(x: Tensor, W_V: Tensor, R: Tensor) -> Tensor:
    """||x W_V W_O|| / ||x|| [head token] for x [token d_model], W_V [kv d_model d_head], R [head d_head d_head]."""
    y = torch.einsum("td,kde->kte", x, W_V).repeat_interleave(len(R) // len(W_V), dim=0)  # [head token d_head]
    ratio = (y @ R.mT).norm(dim=-1) / x.norm(dim=-1)
    return torch.where(torch.isfinite(ratio), ratio, -torch.inf)


def written(
    model: Weights, W_U: Tensor, layer: int, tokens: npt.NDArray[np.int64], n_outputs: int, first_mlp: bool, chunk: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Output tokens that tokens [list head place] raise and lower most, [list head place output] both."""
    unique, at = np.unique(np.maximum(tokens, 0), return_inverse=True)
    x = vectors(model, torch.from_numpy(unique), first_mlp=first_mlp).at(layer)  # [unique d_model]
    W_V, W_O = model.W_V(layer), model.W_O(layer)
    n_heads, group = len(W_O), len(W_O) // len(W_V)
    picked = torch.from_numpy(at.reshape(tokens.shape)).to(model.device).transpose(0, 1).flatten(1)  # [head row]
    with exact_float32():
        out = torch.cat([x[picked[h]] @ W_V[h // group] @ W_O[h] for h in range(n_heads)])  # [head*row d_model]
        rows = max(1, ROWS_MIB * 2**20 // (4 * chunk))
        tiles = [_extremes(out[a : a + rows], W_U, n_outputs, chunk) for a in range(0, len(out), rows)]
    shape = (n_heads, 2, tokens.shape[2], n_outputs)
    top, bottom = (torch.cat(side).view(shape).transpose(0, 1).cpu().numpy() for side in zip(*tiles, strict=True))
    return top, bottom


def _extremes(out: Tensor, W_U: Tensor, n: int, chunk: int) -> tuple[Tensor, Tensor]:
    """Columns of W_U with the n largest and the n smallest products [row n], chunk by chunk."""
    values = out.new_full((2, len(out), n), -torch.inf)  # of the logits, and of their negatives
    columns = torch.full((2, len(out), n), -1, dtype=torch.long, device=out.device)
    for a in range(0, W_U.shape[1], chunk):
        logits = out @ W_U[:, a : a + chunk]
        both = torch.stack([logits, -logits])  # [sign row column]
        part = both.topk(min(n, logits.shape[1]), dim=2)
        top = torch.cat([values, part.values], dim=2).topk(n, dim=2)
        columns = torch.cat([columns, part.indices + a], dim=2).gather(2, top.indices)
        values = top.values
    return columns[0], columns[1]


def _chunks(n: int, size: int) -> Iterator[Tensor]:
    return (torch.arange(a, min(a + size, n)) for a in range(0, n, size))


def _arrays(
    model: Weights,
    sigma: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.int64],
    raised: npt.NDArray[np.int64],
    lowered: npt.NDArray[np.int64],
) -> dict[str, NamedArray]:
    """Token ids replaced by places in one list of words, so that every string is stored once."""
    ids = np.unique(np.concatenate([tokens.ravel(), raised.ravel(), lowered.ravel()]))
    ids = ids[ids >= 0]
    words = tuple(model.tokens.text(int(token)) for token in ids)
    dims, labels = ("list", "layer", "head", "place"), {"list": LISTS}

    def places(grid: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        return np.where(grid < 0, -1, np.searchsorted(ids, grid)).astype(np.int32)

    return {
        "salient_token": NamedArray(dims, places(tokens), labels),
        "salient_sigma": NamedArray(dims, sigma.astype(np.float32), labels),
        "salient_raised": NamedArray((*dims, "output"), places(raised), labels),
        "salient_lowered": NamedArray((*dims, "output"), places(lowered), labels),
        "salient_words": NamedArray(("word",), ids.astype(np.int32), {"word": words}),
    }

"""Checks of what the weights alone say: eigenvalues, composition of two heads, planted words, queries and keys."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from reportgen.models.model import HookFn, Model
from reportgen.selftest.models import Bench, pair_task
from reportgen.selftest.planted import PlainWeights, random_weights, two_planes
from reportgen.selftest.record import Found, at_most, exactly, within
from reportgen.suites.weights.classes import KeptClass, WordClass
from reportgen.suites.weights.scoring import eigen
from reportgen.suites.weights.scoring.composition import Compositions, between, readers, writer
from reportgen.suites.weights.scoring.heads import LayerHeads, fold, normalised, products, read_layer, turned
from reportgen.suites.weights.scoring.successor import Successors, in_vocabulary, macro
from reportgen.suites.weights.scoring.suppression import Suppression, Words, shares
from reportgen.suites.weights.scoring.vocabulary import show

HITS, WORDS = 37, 60
_KINDS = ("q", "k", "v")


def _heads(weights: PlainWeights, layer: int) -> LayerHeads:
    return fold(weights, layer, read_layer(weights, layer))


def _grouped(seed: int = 6, *, turning: bool = False) -> PlainWeights:
    """Six query heads over two key-value heads, with norms' scales."""
    weights = random_weights(seed, heads=6, kv=2, queries=True)
    weights.ln1 = 1 + torch.rand(2, 16, generator=torch.Generator().manual_seed(seed))
    weights.turn = two_planes() if turning else None
    return weights


def copying(bench: Bench) -> Found:
    """Signed share of eigenvalues of the identity, its negative, and a map that turns every plane by 90 degrees."""
    del bench
    eye = torch.eye(8)
    turn = torch.zeros(8, 8)
    turn[range(0, 8, 2), range(1, 8, 2)], turn[range(1, 8, 2), range(0, 8, 2)] = 1.0, -1.0
    maps = torch.stack([eye, -eye, turn])
    heads = LayerHeads(eye[None].expand(3, 8, 8), maps, maps, maps, torch.zeros(3) > 0, torch.zeros(3) > 0, None)
    found = eigen.signed_share(eigen.ov_core(heads, eye))[0]
    return exactly("1, -1, 0", ", ".join(f"{round(float(x), 6) + 0.0:g}" for x in found))


def eigenvalues(bench: Bench) -> Found:
    """Copying and matching by d_head eigenvalues against those of the whole token x token map, grouped queries."""
    del bench
    weights = _grouped()
    heads, ids = _heads(weights, 1), torch.arange(len(weights.E))
    made = products(weights.U, weights.embed, ids, centred=True)
    E = (weights.E - weights.E.mean(0)).double()
    U = (weights.U - weights.U.mean(1, keepdim=True)).double()
    off = 0.0
    ov, qk = eigen.ov_core(heads, made.copying), eigen.qk_core(heads, made.matching)
    for head in range(6):
        V, K = heads.V[head // 3].double(), heads.K[head // 3].double()
        whole = (E @ V @ heads.O[head].double() @ U, E @ heads.Q[head].double() @ K.T @ E.T)
        for core, token in zip((ov, qk), whole, strict=True):
            want = torch.linalg.eigvals(token)
            off = max(off, abs(eigen.signed_share(core)[0][head] - float(want.real.sum() / want.abs().sum())))
    return at_most(1e-4, off)


def _whole(weights: PlainWeights, phases: tuple[float, ...] | None) -> Iterator[tuple[str, int, int, float, float]]:
    """(kind, writer, reader, ||W_in W_OV||^2, ||W_in||^2 ||W_OV||^2) of layers 0 and 1, d x d, at these phases."""
    first, second = (_heads(weights, layer) for layer in (0, 1))
    R = torch.eye(4, dtype=torch.float64)
    if phases is not None and weights.turn is not None:
        for angle, one, other in zip(phases, *weights.turn.pairs.tolist(), strict=True):
            R[one, one] = R[other, other] = math.cos(angle)
            R[one, other], R[other, one] = math.sin(angle), -math.sin(angle)
    for a, b in itertools.product(range(6), range(6)):
        ov = first.V[a // 3].double() @ first.O[a].double()
        qk = second.Q[b].double() @ R @ second.K[b // 3].double().T
        ways = {"q": qk, "k": qk.T, "v": second.V[b // 3].double() @ second.O[b].double()}
        for kind, W in ways.items():
            yield kind, a, b, float((ov @ W).square().sum()), float(W.square().sum() * ov.square().sum())


def _compared(weights: PlainWeights, phases: list[tuple[float, ...] | None]) -> float:
    """Largest relative difference of C^2 from the small Grams and from whole matrices, averaged over phases."""
    first, second = (_heads(weights, layer) for layer in (0, 1))
    one, ways = writer(first, torch.float32), readers(second, _KINDS, weights.record.n_ctx)
    found = {kind: c2 for kind, (c2, _) in between(one, ways).items()}
    sums: dict[tuple[str, int, int], list[float]] = {}
    for at in phases:
        for kind, a, b, over, under in _whole(weights, at):
            total = sums.setdefault((kind, a, b), [0.0, 0.0])
            total[0] += over
            total[1] += under
    return max(float(abs(found[kind][a, b] * under / over - 1)) for (kind, a, b), (over, under) in sums.items())


def composition(bench: Bench) -> Found:
    """C^2 of every pair against Frobenius norms of the whole matrices, which may not be cycled; grouped queries."""
    del bench
    return at_most(1e-4, _compared(_grouped(), [None]))


def composition_rotary(bench: Bench) -> Found:
    """The phase average against four phases of the plane that goes round, exact for a quadratic form."""
    del bench
    phases: list[tuple[float, ...] | None] = [(math.pi / 2 * i, 0.0) for i in range(4)]
    return at_most(1e-4, _compared(_grouped(7, turning=True), phases))


def folded_norm(bench: Bench) -> Found:
    """A norm's scale multiplied into the matrices that read it, and set to 1: eigenvalues and composition stay."""
    del bench
    weights, other = _grouped(), _grouped()
    assert weights.ln1 is not None
    assert other.Q is not None
    assert other.K is not None
    for layer, scale in enumerate(weights.ln1):
        for W in (other.V, other.Q, other.K):
            W[layer] *= scale[:, None]
    other.ln1 = None
    ids, off = torch.arange(len(weights.E)), 0.0
    made = products(weights.U, weights.embed, ids, centred=True)
    cores = [eigen.ov_core(_heads(of, 1), made.copying) for of in (weights, other)]
    off = float(np.abs(eigen.signed_share(cores[0])[0] - eigen.signed_share(cores[1])[0]).max())
    one, two = (
        between(writer(_heads(of, 0), torch.float32), readers(_heads(of, 1), _KINDS, 8)) for of in (weights, other)
    )
    off = max(off, *(float(np.abs(one[kind][0] - two[kind][0]).max()) for kind in _KINDS))
    return at_most(1e-5, off)


def composition_null(bench: Bench) -> Found:
    """z of C^2 over 300 uniform rotations between two heads: mean 0 and sd 1, within a random error of 0.2."""
    del bench
    weights, draw = random_weights(8, heads=1, kv=1, d_model=24, queries=True), torch.Generator().manual_seed(0)
    assert weights.Q is not None
    values, own = [], weights.Q[1].clone()
    for _ in range(300):
        H, R = torch.linalg.qr(torch.randn(24, 24, generator=draw))
        weights.Q[1] = (H * R.diagonal().sign()) @ own
        pairs = Compositions(2, 1, 4, 24, ("q",), 8)
        for layer in (0, 1):
            pairs.add(_heads(weights, layer))
        values.append(pairs.results()["q"].z[0, 1])
    return at_most(0.2, max(abs(float(np.mean(values))), abs(float(np.std(values)) - 1)))


def planted_suppressor(bench: Bench) -> Found:
    """A head that lowers 37 of 60 words and looks for them, and one that raises them: OV and QK shares."""
    del bench
    E, picks = torch.eye(64), torch.zeros(64, 64)
    picks[range(HITS), range(HITS)] = 1.0
    heads = LayerHeads(
        picks[None], torch.stack([-picks.T, picks.T]), torch.stack([picks, -picks]), picks[None],
        torch.zeros(2) > 0, torch.zeros(2) > 0, None,
    )  # fmt: skip
    words = Words(torch.arange(WORDS), E[:WORDS], E[:WORDS], E[:WORDS])
    suppression = Suppression(words, E, 1, 2)
    suppression.begin(heads, None)
    show(heads.O, E, [suppression])
    places = suppression.end()
    found = [round(float(x) * WORDS) for ranks in (places.ov, places.qk) for x in shares(ranks[:, None], 1)[0]]
    return exactly(f"OV {HITS}, 0; QK {HITS}, 0", f"OV {found[0]}, {found[1]}; QK {found[2]}, {found[3]}")


def planted_successor(bench: Bench) -> Found:
    """A head that steps on in an order of 12 words that goes round, its mirror image and a copier."""
    del bench
    eye, order = torch.eye(12), tuple(range(12))
    maps = torch.stack([eye.roll(1, 1), eye.roll(-1, 1), eye])
    heads = LayerHeads(eye[None], maps, maps, eye[None], torch.zeros(3) > 0, torch.zeros(3) > 0, None)
    kept = KeptClass(WordClass("plan", "plan", tuple(f"w{i}" for i in order), cyclic=True), order, order)
    successors = Successors([kept], eye, 1, 3, k=1)
    successors.begin(heads, eye)
    show(maps, eye, [successors])
    successors.end(0, heads)
    found = successors.results()
    rows = ["".join(f"{x:g}" for x in macro(found, steps)[0]) for steps in (1, -1, 0)]
    rows.append("".join(f"{x:g}" for x in in_vocabulary(found[0]).mean(0)[0]))
    return exactly("100, 010, 001, 100", ", ".join(rows))


def queries_and_keys(bench: Bench) -> Found:
    """(n x_q W_Q + b_Q) R (n x_k W_K + b_K)' / sqrt(d_head) is the model's own attention score."""
    return at_most(1e-3, max(_score_gap(bench.gpt2), _score_gap(bench.llama)))  # the norm's epsilon is left out


def _score_gap(model: Model) -> float:
    ids = torch.tensor([pair_task(model.tokens, 1).pairs[0].clean])
    seen: dict[str, Tensor] = {}
    model.run(ids, {("resid_pre", 0): lambda x: seen.__setitem__("x", x.clone()),
                    ("scores", 0): lambda x: seen.__setitem__("scores", x.clone())})  # fmt: skip
    scale, shift = model.ln1_scale(0), model.source.get("transformer.h.0.ln_1.bias")
    assert scale is not None
    x = normalised(model, seen["x"][0]) * scale + (0.0 if shift is None else shift)
    r = model.record
    b_q, b_k = model.b_Q(0), model.b_K(0)
    q = torch.einsum("pm,hmd->hpd", x, model.W_Q(0)) + (0.0 if b_q is None else b_q[:, None])
    k = torch.einsum("pm,hmd->hpd", x, model.W_K(0)) + (0.0 if b_k is None else b_k[:, None])
    k = k.repeat_interleave(r.n_heads // r.n_kv_heads, dim=0)
    turn, last = model.rotary(0), x.shape[0] - 1
    off = 0.0
    for key in range(last + 1):
        R = torch.eye(r.d_head) if turn is None else turned(turn, r.d_head, last - key).float()
        mine = (q[:, last] @ R * k[:, key]).sum(-1) / math.sqrt(r.d_head)
        off = max(off, float((mine - seen["scores"][0, :, last, key]).abs().max()))
    return off


def single_token(bench: Bench) -> Found:
    """The residual at position 0, one block at a time, is what a prompt of one token has there."""
    off = 0.0
    for model in (bench.gpt2, bench.llama):
        seen: list[Tensor] = []
        model.run(torch.tensor([[5]]), {("resid_post", 1): _kept(seen)})
        off = max(off, float((model.first_position(5)[-1] - seen[0][0, 0]).abs().max()))
    return at_most(1e-4, off)


def _kept(seen: list[Tensor]) -> HookFn:
    def keep(x: Tensor) -> None:
        seen.append(x.clone())

    return keep


def rotated_null(bench: Bench) -> Found:
    """Signed shares of rotated Gaussian spectra with nothing in between: sd near 1.5 / d_head."""
    del bench
    null = eigen.RotatedNull({"residual": torch.eye(96)}, 96, 16, 200, 0)
    ones = torch.linspace(0.7, 1.3, 16, dtype=torch.float64)[None]
    return within(1.5 / 16, float(null.layer("residual", ones, ones).std()), 0.02)

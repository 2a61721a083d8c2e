"""One pass over the layers of one set of weights: every grid, null draw and pair that the results are made from.

The random twin goes through the same pass, without nulls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.errors import NotApplicable
from reportgen.suites import ov
from reportgen.suites.weights import classes
from reportgen.suites.weights.scoring import eigen, spectrum
from reportgen.suites.weights.scoring.composition import Composition, Compositions
from reportgen.suites.weights.scoring.heads import (
    LayerHeads,
    Products,
    fold,
    folded_map,
    normalised,
    products,
    raw_map,
    read_layer,
    unembedding,
    vocabulary_size,
)
from reportgen.suites.weights.scoring.redundancy import ValueOverlap, ValueSpaces
from reportgen.suites.weights.scoring.sink import Sink
from reportgen.suites.weights.scoring.successor import Successors, Winners
from reportgen.suites.weights.scoring.suppression import PermutedWords, Suppression, Words, plain_words
from reportgen.suites.weights.scoring.vocabulary import show
from reportgen.suites.weights.suite import Settings, composition_kinds, raw_composition

if TYPE_CHECKING:
    from reportgen.models.weights import Weights

FEWEST_WORDS = 20  # whole words that suppression needs
SINK_WORDS = 256
INACTIVE = 1e-6  # of the median head's ||W_V W_O||
Grids = dict[str, Floats]


@dataclass(eq=False)
class Measured:
    """Everything of one set of weights.

    grids     name -> [layer head]
    nulls     name -> [draw layer head], from rotations
    ranks     "ov", "qk" -> [word layer head] twice the mid-rank;  permuted  [2 draw layer*head]
    winners   of every usable class
    pairs     kind -> composition [writer reader];  raw  the same of raw weights
    values    overlap of value subspaces
    profile   [layer head distance] matching at a distance
    lacking   what could not be computed -> why
    """

    grids: Grids = field(default_factory=dict)
    nulls: Grids = field(default_factory=dict)
    words: tuple[int, ...] = ()
    keys: int = 0
    ranks: dict[str, npt.NDArray[np.uint32]] = field(default_factory=dict)
    permuted: Floats | None = None
    winners: list[Winners] = field(default_factory=list)
    pairs: dict[str, Composition] = field(default_factory=dict)
    raw: dict[str, Composition] = field(default_factory=dict)
    values: ValueOverlap | None = None
    profile: Floats | None = None
    senders: npt.NDArray[np.int32] | None = None
    lacking: dict[str, str] = field(default_factory=dict)
    broken: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    note: str = ""


class Pass:
    """The pass; `nulls` off for a control."""

    def __init__(self, weights: Weights, settings: Settings, seed: int, tick: Callable[[], None], *, nulls: bool):
        self.weights, self.settings, self.seed, self.tick = weights, settings, seed, tick
        self.nulls, r = nulls, weights.record
        self.out = Measured()
        self.shape = (r.n_layers, r.n_heads)
        self.between: dict[str, Tensor] = {}
        self.permuted: PermutedWords | None = None
        self.suppression: Suppression | None = None
        self.sink: Sink | None = None
        self.successors: Successors | None = None
        self._vocabulary()
        self._sink()
        self.null: eigen.RotatedNull | None = None
        if nulls and settings.rotations:
            named = {name: K for name, K in self.between.items() if not name.endswith("_raw")}
            self.null = eigen.RotatedNull(named, r.d_model, r.d_head, settings.rotations, seed)
        kinds = composition_kinds(r, settings)
        self.pairs, self.raw_pairs = (
            Compositions(*self.shape, r.d_head, r.d_model, kinds, r.n_ctx) if wanted else None
            for wanted in (bool(kinds), raw_composition(r, settings))
        )
        self.values = ValueSpaces(r.n_layers, r.n_kv_heads, r.d_head, r.d_model)

    def run(self) -> Measured:
        """All layers, then what looks back at earlier ones."""
        for layer in range(self.shape[0]):
            raw = read_layer(self.weights, layer)
            heads = fold(self.weights, layer, raw)
            self._broken(layer, heads)
            self._eigen(layer, raw, heads)
            self._spectrum(layer, heads)
            self._tokens(layer, heads)
            for pairs, own in ((self.pairs, heads), (self.raw_pairs, raw)):
                if pairs is not None:
                    pairs.add(own)
            self.values.add(heads)
            self.tick()
        self._finish()
        return self.out

    def _vocabulary(self) -> None:
        """What needs embeddings and the unembedding: products, words, classes."""
        w, s, size = self.weights, self.settings, vocabulary_size(self.weights)
        ids = torch.arange(size, device=w.device)
        raw = w.W_U()[:, :size]
        if not bool(raw.isfinite().all()) or not bool(w.embed(ids[:: max(1, size // 1000)]).isfinite().all()):
            self.out.lacking["vocabulary"] = "the embedding or the unembedding is not finite"
            return
        if s.raw:
            plain = products(raw, w.embed, ids, centred=False)
            self._keep(plain, "_raw")
        rng = np.random.default_rng([self.seed, 1])
        words = plain_words(w.tokens, size, s.words + s.keys, rng) if s.words else []
        chosen = self._chosen(raw, words, rng) if s.words else None
        del raw  # as large as the vocabulary: one copy at a time
        U = unembedding(w)
        if chosen is not None:
            self.suppression = Suppression(chosen, U, s.k, self.shape[1])
        own = products(U, lambda part: normalised(w, w.embed(part)), ids, centred=True)
        self._keep(own)
        self.out.counts["tokens"] = own.n
        self._first_mlp(U, ids, rng)
        self._classes(U)

    def _keep(self, made: Products, ending: str = "") -> None:
        self.between |= {"copying" + ending: made.copying, "matching" + ending: made.matching}

    def _chosen(self, raw: Tensor, words: list[int], rng: np.random.Generator) -> Words | None:
        s, out = self.settings, self.out
        mine, others = words[: s.words], words[s.words :]
        if len(mine) < FEWEST_WORDS:
            out.lacking["suppression"] = f"{len(mine)} tokens are whole words; at least {FEWEST_WORDS} are needed"
            return None
        try:
            chosen = Words.build(self.weights, raw, mine, others)
        except NotApplicable as reason:
            out.lacking["suppression"] = str(reason)
            return None
        if not bool(chosen.keys.isfinite().all()):
            out.lacking["suppression"] = "what block 0 makes of the words is not finite"
            return None
        out.words, out.keys = tuple(mine), len(words)
        out.ranks = {part: np.zeros((len(mine), *self.shape), np.uint32) for part in ("ov", "qk")}
        if self.nulls and s.permutations:
            norms = self.weights.embed(chosen.ids).norm(dim=1).cpu().double().numpy()
            self.permuted = PermutedWords(norms, s.permutations, *self.shape, rng)
        return chosen

    def _first_mlp(self, U: Tensor, ids: Tensor, rng: np.random.Generator) -> None:
        """The product with what the first MLP makes of tokens, a sample of them where the vocabulary is large."""
        w, most = self.weights, self.settings.mlp_tokens
        if most and len(ids) > most:
            ids = torch.from_numpy(np.sort(rng.choice(len(ids), most, replace=False))).to(w.device)
        try:
            own = products(U, lambda part: normalised(w, w.first_mlp(part)), ids, centred=True, matching=False)
        except NotApplicable as reason:
            self.out.lacking["first_mlp"] = str(reason)
            return
        if not bool(own.copying.isfinite().all()):
            self.out.lacking["first_mlp"] = "what the first MLP writes is not finite"
            return
        self.between["copying_mlp"] = own.copying
        self.out.counts["mlp_tokens"] = own.n

    def _classes(self, U: Tensor) -> None:
        kept = [one for one in classes.keep(self.weights.tokens) if classes.usable(one)]
        if not kept:
            self.out.lacking["successor"] = f"no class of words in order has {classes.LEAST} single-token words"
        self.U = U
        self.successors = Successors(kept, U, *self.shape, self.settings.k) if kept else None
        if self.successors is not None:
            self.sources = ov.sources(self.weights, self.successors.ids.tolist())
            self.out.note = self.sources.note
            if not bool(self.sources.later.isfinite().all()):
                self.out.lacking["successor"] = "what the first MLP writes is not finite"
                self.successors = None

    def _sink(self) -> None:
        w, size = self.weights, vocabulary_size(self.weights)
        rng = np.random.default_rng([self.seed, 2])
        try:
            token = w.tokens.bos_id
            x = w.first_position(first_token(w) if token is None else token)
            sampled = plain_words(w.tokens, size, SINK_WORDS, rng)
            sampled = sampled if len(sampled) >= FEWEST_WORDS else rng.permutation(size)[:SINK_WORDS].tolist()
            vectors = ov.sources(w, sampled)
        except NotApplicable as reason:
            self.out.lacking["sink"] = str(reason)
            return
        if not bool(x.isfinite().all() & vectors.later.isfinite().all() & vectors.first.isfinite().all()):
            self.out.lacking["sink"] = "the residual at position 0 or the words' vectors are not finite"
            return
        self.sink, self.sampled = Sink.build(x), vectors

    def _broken(self, layer: int, heads: LayerHeads) -> None:
        for name, grid in (("ov", heads.broken_ov), ("qk", heads.broken_qk)):
            whole = self.out.broken.setdefault(name, np.zeros(self.shape, np.bool_))
            whole[layer] = grid.cpu().numpy()

    def _set(self, name: str, layer: int, values: Floats) -> None:
        self.out.grids.setdefault(name, np.full(self.shape, np.nan))[layer] = values

    def _eigen(self, layer: int, raw: LayerHeads, heads: LayerHeads) -> None:
        cores = {"copying_residual": eigen.ov_core(heads, None)}
        for name, K in self.between.items():
            own = raw if name.endswith("_raw") else heads
            if name == "copying_mlp" and layer == 0:  # which stands before the first MLP
                K = self.between["copying"]
            cores[name] = eigen.qk_core(own, K) if name.startswith("matching") else eigen.ov_core(own, K)
        for name, core in cores.items():
            share, taking_part = eigen.signed_share(core)
            self._set(name, layer, share)
            self._set(f"participation/{name}", layer, taking_part)
        if self.null is not None:
            values = eigen.spectra(heads)
            for name in self.null.cores:
                pair = (values.K, values.Q) if name.startswith("matching") else (values.O, values.V)
                draws = self.null.layer(name, *pair)
                kept = self.out.nulls.setdefault(name, np.zeros((len(draws), *self.shape), np.float64))
                kept[:, layer] = draws[:, None]
        if "matching" in self.between and self.nulls:
            if self.out.profile is None:
                self.out.profile = np.full((*self.shape, len(eigen.DISTANCES)), np.nan)
            if heads.turn is not None:
                self.out.profile[layer] = eigen.profile(heads, self.between["matching"], self.weights.record.n_ctx)

    def _spectrum(self, layer: int, heads: LayerHeads) -> None:
        squares = spectrum.ov_squares(heads)
        numerical, most = spectrum.ranks(squares)
        norm, slow = spectrum.qk_norms(heads, self.weights.record.n_ctx)
        with np.errstate(invalid="ignore"):
            found = {"ov_norm": squares.sum(-1).sqrt().numpy(), "ov_rank": numerical, "ov_rank_99": most,
                     "qk_norm": norm, "qk_slow": slow, "identity": spectrum.identity(heads, squares)}  # fmt: skip
        for name, values in found.items():
            self._set(name, layer, values)

    def _tokens(self, layer: int, heads: LayerHeads) -> None:
        """Suppression, successors and the sink of one layer."""
        w, both = self.weights, (self.successors, self.suppression)
        readers = [one for one in both if one is not None]
        if self.successors is not None:
            self.successors.begin(heads, normalised(w, self.sources.at(layer)))
        if self.suppression is not None:
            self.suppression.begin(heads, w.b_Q(layer))
        if readers:
            show(heads.O, self.U, readers)
        if self.successors is not None:
            self.successors.end(layer, heads)
        if self.suppression is not None:
            places = self.suppression.end()
            self.out.ranks["ov"][:, layer], self.out.ranks["qk"][:, layer] = places.ov, places.qk
            if self.permuted is not None:
                self.permuted.fill(layer, places.hits)
        if self.sink is not None:
            words, b_Q = self.sampled.at(layer), w.b_Q(layer)
            self._set("sink_value", layer, self.sink.value(w, layer, heads, words))
            self._set("sink_key", layer, self.sink.preferred(w, layer, heads, words, b_Q))
            self._set("sink_write", layer, self.sink.write(heads))

    def _finish(self) -> None:
        if self.successors is not None:
            self.out.winners = self.successors.results()
        if self.permuted is not None:
            self.out.permuted = self.permuted.shares()
        if self.pairs is not None:
            self.out.pairs = self.pairs.results()
        if self.raw_pairs is not None:
            self.out.raw = self.raw_pairs.results()
        self.out.values = self.values.results()
        self.out.grids["value_overlap"] = self.out.values.nearest(self.shape[1])[0]
        if "k" in self.out.pairs and "matching" in self.between and self.nulls:
            self._through_writers(self.out.pairs["k"])

    def _through_writers(self, k: Composition) -> None:
        """Matching of the token that each head's strongest key-composition partner writes; a writer is read once."""
        n_layers, n_heads = self.shape
        scores = np.where(np.isfinite(k.z), k.z, -np.inf)
        best = np.where(np.isfinite(k.z).any(0), scores.argmax(0), -1).reshape(self.shape)
        found = np.full(self.shape, np.nan)
        for writer in np.unique(best[best >= 0] // n_heads).tolist():
            V, O = self._folded(writer, "VO")  # noqa: E741
            moved: dict[int, Tensor] = {}  # key-value head -> W_V' E' E
            for layer in range(writer + 1, n_layers):
                readers = np.flatnonzero(best[layer] // n_heads == writer).tolist()
                Q, K = self._folded(layer, "QK") if readers else (V, V)
                for head in readers:
                    sender = int(best[layer, head]) % n_heads
                    group = sender * len(V) // n_heads
                    if group not in moved:
                        moved[group] = V[group].T @ self.between["matching"]
                    core = eigen.induction_core(Q[head], K[head * len(K) // n_heads], O[sender], moved[group])
                    found[layer, head] = eigen.signed_share(core)[0]
        self.out.grids["induction_matching"] = found
        self.out.senders = best.astype(np.int32)

    def _folded(self, layer: int, names: str) -> tuple[Tensor, ...]:
        return tuple(folded_map(self.weights, layer, name, raw_map(self.weights, layer, name)) for name in names)


def first_token(weights: Weights) -> int:
    """The token that stands for a beginning where prompts have none of their own: the document mark, else "The"."""
    mark = weights.tokens.document_mark()
    if mark is not None:
        return mark
    word = weights.tokens.word_id("The")
    return 0 if word is None else word

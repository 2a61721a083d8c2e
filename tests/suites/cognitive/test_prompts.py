"""Which positions count: character offsets, token policies, sites; and head outputs there, one pass per text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from reportgen.errors import DataError, NotApplicable
from reportgen.models.model import Model
from reportgen.suites.cognitive.rows import Earlier, Row
from reportgen.suites.cognitive.scoring import dataset, prompts
from reportgen.suites.cognitive.scoring.prompts import Encoded, Encoder, chosen_steps, template
from reportgen.suites.cognitive.suite import preset
from tests.suites.cognitive import toy

TEXT = "the capital of France is Paris and the old capital was Lyon; unbelievable, uncommon and unhappy answers"
RECIPE = preset("recommended")


def _trained() -> Tokenizer:
    """Byte-level BPE with so few merges that words take several tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [TEXT] * 20, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    return made


class Pieces:
    """The tokens of a model, as far as prompts need them."""

    def __init__(self, bos: int | None = None) -> None:
        self.bos_id, self._made = bos, _trained()

    def encode(self, text: str) -> list[int]:
        return list(self._made.encode(text).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._made.decode(list(ids), skip_special_tokens=False))

    def chat(self, text: str) -> str:
        return f"<user>{text}</user><answer>"


TOKENS = Pieces()


def _row(answer: str, **changes: object) -> Row:
    row = Row("a", "a", 0, "A passage.", (), "What?", answer, "Retrieval")
    return replace(row, **changes)  # type: ignore[arg-type]


def _read(tokens: Pieces, ids: Sequence[int], places: Sequence[int]) -> str:
    return "".join(tokens.decode([ids[i]]) for i in places)


@given(
    st.text(alphabet="abcé ß'-日", min_size=1, max_size=12).map(str.strip).filter(lambda t: t.rstrip(".").strip() != "")
)
def test_answer_tokens_are_those_of_the_answer(answer: str) -> None:
    encoded = Encoder(TOKENS, [_row(answer)], replace(RECIPE, tokens="all"), 5, "token").encode(_row(answer), answer)
    whole = TOKENS.decode(encoded.ids)
    assert whole.endswith(answer)
    first = TOKENS.decode(encoded.ids[: encoded.answer[0]])
    assert len(whole) - len(answer) - 1 <= len(first) <= len(whole) - len(answer)  # the space may be the token's
    assert encoded.answer == tuple(range(encoded.answer[0], len(encoded.ids)))
    assert encoded.sites == encoded.answer


def test_a_site_is_the_position_that_predicts_the_token() -> None:
    row = _row("Paris")
    own = Encoder(TOKENS, [row], RECIPE, 5, "token").encode(row, "Paris")
    before = Encoder(TOKENS, [row], RECIPE, 5, "predict").encode(row, "Paris")
    assert before.sites == tuple(i - 1 for i in own.sites)
    assert before.first == before.answer[0] - 1
    assert before.ids == own.ids


def test_a_chat_template_stands_around_the_prompt_and_the_answer_follows_it() -> None:
    row = _row("Paris")
    encoder = Encoder(TOKENS, [row], replace(RECIPE, chat=True, tokens="all"), 5, "token")
    encoded = encoder.encode(row, "Paris")
    text = TOKENS.decode(encoded.ids)
    assert text == "<user>Text: A passage.\nQ: What? A:</user><answer>Paris"
    assert _read(TOKENS, encoded.ids, encoded.sites) == "Paris"
    asked = TOKENS.decode(encoder.prompt_ids(row))
    assert text == asked + "Paris"


def test_bos_shifts_every_position() -> None:
    plain, started = (Encoder(t, [_row("Paris")], RECIPE, 5, "predict") for t in (TOKENS, Pieces(bos=7)))
    a, b = plain.encode(_row("Paris"), "Paris"), started.encode(_row("Paris"), "Paris")
    assert b.ids == (7, *a.ids)
    assert b.sites == tuple(i + 1 for i in a.sites)


def test_content_words_by_rarity_then_position() -> None:
    answer = "the capital was Paris and Lyon"
    rows = [_row(answer), *(_row("Paris", id=f"r{i}") for i in range(5)), _row("the capital", id="x")]
    one = Encoder(TOKENS, rows, replace(RECIPE, tokens="content"), 50, "token")
    assert _read(TOKENS, one.encode(rows[0], answer).ids, one.encode(rows[0], answer).sites).split() == [
        "capital",
        "Paris",
        "Lyon",
    ]
    few = Encoder(TOKENS, rows, replace(RECIPE, tokens="content"), len(TOKENS.encode(" Lyon")), "token")
    assert _read(TOKENS, few.encode(rows[0], answer).ids, few.encode(rows[0], answer).sites).strip() == "Lyon"


def test_policies() -> None:
    answer = "the unhappy answers"
    row = _row(answer, key_tokens=("answers", "nowhere"))

    def sites(policy: str) -> tuple[str, bool]:
        made = Encoder(TOKENS, [row], replace(RECIPE, tokens=policy), 5, "token").encode(row, answer)
        return _read(TOKENS, made.ids, made.sites).strip(), made.whole

    assert sites("all") == (answer, False)
    assert sites("given") == ("answers", False)
    assert sites("first")[0] == "the"
    assert answer.endswith(sites("last")[0])
    missing = Encoder(TOKENS, [row], replace(RECIPE, tokens="given"), 5, "token").encode(
        replace(row, key_tokens=("x",)), answer
    )
    assert missing.whole
    assert len(missing.sites) == len(missing.answer)
    short = Encoder(TOKENS, [row], replace(RECIPE, tokens="top5"), 5, "token").encode(_row("the"), "the")
    assert not short.whole


def test_stop_words_alone_count_whole() -> None:
    row = _row("of the")
    made = Encoder(TOKENS, [row], RECIPE, 5, "token").encode(row, "of the")
    assert made.whole
    assert _read(TOKENS, made.ids, made.sites).strip() == "of the"


class Lowering(Pieces):
    """A tokenizer that does not give the text back."""

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).upper()


def test_tokenizers_that_change_the_text_fall_back_to_beginnings() -> None:
    row, tokens = _row("Paris"), Lowering()
    made = Encoder(tokens, [row], RECIPE, 5, "token").encode(row, "Paris")
    assert "".join(Pieces.decode(tokens, [made.ids[i]]) for i in made.answer).strip() == "Paris"


def test_prompts_in_words() -> None:
    steps = (Earlier("one?", "1.", "Retrieval"), Earlier("two?", "2", "Math"))
    row = _row("Paris", context=steps)
    assert template("plain").prompt(row, "all") == "Text: A passage.\nQ: one? A: 1.\nQ: two? A: 2.\nQ: What? A:"
    assert template("plain").prompt(row, "none") == "Text: A passage.\nQ: What? A:"
    assert template("plain").prompt(replace(row, question=""), "none") == "Q: What? A:"
    assert [s.q for s in chosen_steps(row, "retrieval")] == ["one?"]
    paper = template("cogqa").prompt(row, "retrieval")
    assert "Q1: one?\nA1: 1." in paper
    assert "two?" not in paper
    assert "No prior knowledge." in template("cogqa").prompt(row, "none")
    assert paper.endswith("Your answer:")


BAD = [
    ("{question}", "the placeholder {subquestion}"),
    ("{x} {subquestion}", "only the placeholders"),
    ("{subquestion", "only the placeholders"),
    ("{0}", "only the placeholders"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_bad_templates_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(DataError, match="expected") as caught:
        template(str(tmp_path / "p.txt"))
    assert words in str(caught.value)


def test_a_template_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("{{JSON}} {context} | {subquestion} =>\n")
    assert template(str(tmp_path / "p.txt")).prompt(_row("Paris"), "all") == "{JSON} No prior knowledge. | What? =>"


def _encoded(model: Model, folder: Path, chains: int = 6) -> list[Encoded]:
    rows = dataset.load(str(toy.write(folder / "toy.jsonl", toy.rows(chains))))
    encoder = Encoder(model.tokens, rows, preset("recommended"), 5, "predict")
    return [encoder.encode(row, row.answer) for row in rows]


def _one_by_one(model: Model, encoded: list[Encoded]) -> Tensor:
    """Each example alone, sites averaged afterwards."""
    out = []
    for example in encoded:
        kept: dict[int, Tensor] = {}
        layers = range(model.record.n_layers)
        hooks = {("z", layer): lambda z, at=layer, into=kept: into.update({at: z[0]}) for layer in layers}
        model.run(torch.tensor([example.ids]), hooks)  # type: ignore[arg-type]
        out.append(torch.stack([kept[layer][list(example.sites)].mean(0) for layer in sorted(kept)]))
    return torch.stack(out)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_the_residual_parts_of_the_heads_add_up(
    family: str, model_of: Callable[[str], Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(family)
    example = _encoded(model, tmp_path)[0]
    parts = prompts.residual(model, prompts.head_outputs(model, [example], 1, lambda *_: None))
    assert parts.shape == (1, model.record.n_layers, model.record.n_heads, model.record.d_model)
    kept: list[Tensor] = []
    model.run(torch.tensor([example.ids]), {("attn_out", 1): lambda out: kept.append(out[0])})
    zero: list[Tensor] = []
    silent = {("z", 1): torch.zeros_like, ("attn_out", 1): lambda out: zero.append(out[0])}  # what is left is the bias
    model.run(torch.tensor([example.ids]), silent)
    wanted = (kept[0] - zero[0])[list(example.sites)].mean(0)
    assert torch.allclose(parts[0, 1].sum(0), wanted, atol=1e-5)
    monkeypatch.setattr(prompts, "MOST_RESIDUAL_BYTES", 100)
    with pytest.raises(NotApplicable, match="hook=result needs"):
        prompts.residual(model, prompts.head_outputs(model, [example], 1, lambda *_: None))


@pytest.mark.parametrize(
    "family", ["gpt2", "qwen3", "gemma2"]
)  # plain; d_head is not d_model / n_heads; sliding window
def test_batched_passes_give_what_single_ones_give(
    family: str, model_of: Callable[[str], Model], tmp_path: Path
) -> None:
    model = model_of(family)
    encoded = _encoded(model, tmp_path)
    assert len({len(e.ids) for e in encoded}) > 2  # so that some are filled up
    made = prompts.head_outputs(model, encoded, 5, lambda *_: None)
    assert made.shape == (len(encoded), model.record.n_layers, model.record.n_heads, model.record.d_head)
    assert torch.allclose(made, _one_by_one(model, encoded), atol=1e-5)


def test_sites_read_while_generating_are_the_teacher_forced_ones(model_of: Callable[[str], Model]) -> None:
    """Head outputs at the last position of every decoding step, against one pass over prompt and answer."""
    model, ids, steps = model_of("gpt2"), [5, 9, 2, 30], []
    for _ in range(3):
        kept: dict[int, Tensor] = {}
        layers = range(model.record.n_layers)
        hooks = {("z", layer): lambda z, at=layer, into=kept: into.update({at: z[0, -1]}) for layer in layers}
        ids.append(int(model.run(torch.tensor([ids]), hooks)[0, -1].argmax()))  # type: ignore[arg-type]
        steps.append(torch.stack([kept[layer] for layer in layers]))
    read = Encoded(tuple(ids), (4, 5, 6), (3, 4, 5), False)
    made = prompts.head_outputs(model, [read], 4, lambda *_: None)[0]
    assert torch.allclose(made, torch.stack(steps).mean(0), atol=1e-5)


def test_one_pass_per_chain(model_of: Callable[[str], Model], tmp_path: Path) -> None:
    encoded = _encoded(model_of("gpt2"), tmp_path)
    todo = prompts.passes(encoded)
    assert len(todo) == 6  # chains, not rows
    assert sorted(i for p in todo for i in p.examples) == list(range(18))
    for p in todo:
        assert all(p.ids[: len(encoded[i].ids)] == encoded[i].ids for i in p.examples)


def test_texts_that_only_share_words_stay_apart() -> None:
    texts = [(1, 2, 3), (1, 2), (1, 3), (2,), (1, 2, 3)]
    todo = prompts.passes([Encoded(ids, (1,), (0,), False) for ids in texts])
    assert sorted((p.ids, tuple(sorted(p.examples))) for p in todo) == [
        ((1, 2, 3), (0, 1, 4)), ((1, 3), (2,)), ((2,), (3,)),
    ]  # fmt: skip


def test_the_cache_keeps_features_and_forgets_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    z = torch.randn(3, 2, 2, 4)
    assert prompts.recall("key", (3, 2, 2, 4)) is None
    prompts.remember("key", z)
    kept = prompts.recall("key", (3, 2, 2, 4))
    assert kept is not None
    assert torch.equal(kept, z)
    assert prompts.recall("key", (4, 2, 2, 4)) is None
    (prompts.cache_folder() / "key.safetensors").write_bytes(b"damaged")
    assert prompts.recall("key", (3, 2, 2, 4)) is None
    for i in range(prompts.KEPT_FILES + 3):
        prompts.remember(f"key{i}", z)
    assert len(list(prompts.cache_folder().iterdir())) == prompts.KEPT_FILES

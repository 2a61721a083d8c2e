"""The corpus, vocabulary, tokenizer and probes of the bundled model."""

import hashlib
import json
import tomllib
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from reportgen.mini import corpus, evaluate, phrasings, vocab, words
from reportgen.mini.cognitive import CognitiveItem, cognitive_items
from reportgen.mini.corpus import UNSEEN_NAMES
from reportgen.mini.evaluate import later_years
from reportgen.mini.phrasings import ANSWER, FUNCTIONS, STEP, STOP, TEXT
from reportgen.mini.vocab import compiled, distinct, names, relation, relation_pairs, vocabulary

DATA = files("reportgen.suites") / "pair_lists"
RELATIONS = tomllib.loads((DATA / "relations.toml").read_text("utf-8"))
TEMPLATES = RELATIONS.pop("templates")
VOCABULARY_SHA256 = "b2ccbdf5a7242882"  # of the weights in the checkpoint; a change of vocabulary needs new training


def survivors(name: str) -> list[tuple[str, str]]:
    """Pairs of the suite's list whose two words are one token each."""
    known = set(vocabulary())
    pairs = json.loads((DATA / f"{name}.json").read_text("utf-8"))
    return [(x, y) for x, y in pairs if f" {x}" in known and f" {y}" in known]


def documents(n: int, *, heldout: bool = False) -> dict[str, list[np.ndarray]]:
    made = corpus.blocks(np.random.default_rng(3), n, heldout=heldout)
    return {kind: [row[row >= 0] for block in blocks for row in block] for kind, blocks in made.items()}


def test_vocabulary_is_unique_and_the_trained_one() -> None:
    tokens = vocabulary()
    assert len(set(tokens)) == len(tokens)
    assert tokens[:2] == ("<|endoftext|>", "<unk>")
    assert 2000 <= len(tokens) <= 2600
    assert hashlib.sha256("\n".join(tokens).encode()).hexdigest()[:16] == VOCABULARY_SHA256


@pytest.mark.parametrize("name", list(RELATIONS))
def test_relation_survives_and_its_prompts_are_known(name: str) -> None:
    alive = survivors(name)
    assert len(alive) >= 34
    taught = set(relation_pairs(name))
    assert sum(pair in taught for pair in alive) >= 0.95 * len(alive)
    prompts = [*TEMPLATES, *filter(None, [RELATIONS[name].get("prompt")])]
    unknown = [text for x, _ in alive for p in prompts if 1 in corpus.encode(text := p.replace("<X>", x))]
    # At the very start of a prompt or after '"' a word has no leading space: no default prompt puts a source there.
    assert unknown == []


@pytest.mark.parametrize("name", [name for name, row in RELATIONS.items() if row.get("prompt")])
def test_ablation_prompt_is_in_the_corpus_word_by_word(name: str) -> None:
    prompt = RELATIONS[name]["prompt"].replace(" <X>", "{x}")
    if name in ("word_to_first_letter", "word_to_last_letter"):
        wanted = prompt.replace("{x}", " fish")  # the spelling documents
        assert any(corpus.decode(row).startswith(wanted) for row in documents(60_000)["spelling"])
    else:
        assert any(text.startswith(prompt + "{y}") for text in phrasings.FACTS[name])


def test_tokenizer_round_trips_every_document_and_agrees_with_encode() -> None:
    built = vocab.build_tokenizer()
    for kind, rows in documents(3000).items():
        if kind == "repeats":  # random tokens run together
            continue
        for row in rows:
            text = corpus.decode(row)
            assert built(text)["input_ids"] == row.tolist() == corpus.encode(text), text
            assert built.decode(row.tolist()) == text


def test_saved_tokenizer_loads_in_a_gpt2_folder(tmp_path: Path) -> None:
    vocab.save_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = 'The opposite of "large" is "'
    assert loaded.tokenize(text) == ["The", " opposite", " of", ' "', "large", '"', " is", ' "']
    assert loaded.decode(loaded(text)["input_ids"]) == text
    assert loaded.bos_token_id == 0
    assert loaded.tokenize("The war lasted from 1732 to 17")[-4:] == [" 17", "32", " to", " 17"]
    assert loaded.tokenize(" 1934-> 1935;") == [" 1934", "->", " 1935", ";"]


def test_windows_shape_seed_and_starts() -> None:
    rows = corpus.windows(5, 400)
    assert rows.shape == (400, 128)
    assert rows.dtype == np.int16
    assert rows.min() == 0
    assert rows.max() < len(vocabulary())
    assert not (rows == 1).any()
    np.testing.assert_array_equal(rows, corpus.windows(5, 400))
    assert (rows != corpus.windows(6, 400)).any()
    assert 0.4 < (rows[:, 0] == 0).mean() < 0.6
    assert corpus.windows(5, 7, 64).shape == (7, 64)


def test_packing_begins_windows_with_documents_and_keeps_long_ones_whole() -> None:
    sizes = np.random.default_rng(0).choice([5, 20, 40, 100], size=4000)
    tokens = np.concatenate([np.r_[1, np.full(size - 2, size), 0] for size in sizes]).astype(np.int16)
    rows = corpus._pack(np.random.default_rng(1), tokens, np.r_[0, np.cumsum(sizes)], 200, 128)
    assert rows is not None
    lead = rows[:, 0] == 0
    assert 0.3 < lead.mean() < 0.7
    assert (rows[np.arange(200), lead.astype(int)] == 1).all()
    after = rows[:, 1:][rows[:, :-1] == 0]
    assert (after == 1).all()  # a document follows every end
    assert set((rows == 100).sum(axis=1).tolist()) == {0, 98}  # whole or not there
    assert (
        corpus._pack(np.random.default_rng(1), tokens[: sizes[:9].sum()], np.r_[0, np.cumsum(sizes[:9])], 200, 128)
        is None
    )


def test_shares_are_as_stated_and_two_pairs_are_half_of_ioi() -> None:
    made = documents(20_000)
    total = sum(len(rows) for rows in made.values())
    weight = sum(share for _, share in corpus.SHARES.values())
    for kind, (_, share) in corpus.SHARES.items():
        assert len(made[kind]) / total == pytest.approx(share / weight, rel=0.03)
    assert len(made["two_pair_ioi"]) >= len(made["ioi"])


def test_cut_windows_keep_the_share_of_long_documents() -> None:
    tokens = vocabulary()
    rows = corpus.windows(2, 4000)
    passages = (rows == tokens.index("Text")).sum()
    ends = (rows == 0).sum() - (rows[:, 0] == 0).sum() + (rows == tokens.index("\n")).sum()
    # Newlines inside passages and scenes count as ends too, so the share is a little low.
    assert 0.02 < passages / ends < 0.045


def test_templates_and_pools_are_large_enough() -> None:
    assert len(phrasings.IOI) >= 9
    assert len(phrasings.COLORED) >= 8
    assert len(phrasings.GREATER_THAN) >= 8
    assert len(phrasings.FACTS["country_to_capital"]) >= 8
    assert len(names()) - UNSEEN_NAMES >= 100
    assert (relation("word_to_antonym").bare_x >= 0).sum() >= 60
    for name, texts in phrasings.FACTS.items():
        assert len(texts) >= 2
        for text in texts:
            assert text.rindex("{y}" if "{y}" in text else "{by}") > text.index("x}"), name


def test_held_out_facts_never_stand_in_training() -> None:
    trained = {corpus.decode(row) for row in documents(60_000)["facts"]}
    for probe in evaluate.fact_prompts("country_to_capital", heldout=True):
        texts = [text + corpus.decode([answer]) for text, answer in zip(probe.text, probe.answer, strict=True)]
        assert texts
        assert not any(text in done for text in texts for done in trained if done.startswith(text[:12]))
    held = {corpus.decode(row) for row in documents(2000, heldout=True)["facts"]}
    assert not held & trained


def test_held_out_ioi_pairs_and_template() -> None:
    rows = documents(60_000)["ioi"]
    last = compiled(phrasings.IOI[-1])[:3]
    assert not any(tuple(row[:3].tolist()) == last for row in rows)
    assert any(tuple(row[:3].tolist()) == last for row in documents(3000, heldout=True)["ioi"])
    first = tuple(compiled(phrasings.IOI[0])[i] for i in (0, 4, 5))
    trained = {tuple(row[[1, 3]].tolist()) for row in rows if (row[0], *row[4:6]) == first}
    probe = evaluate.ioi_prompts(0, 200, 0, heldout=True)
    assert not {tuple(row[[1, 3]].tolist()) for row in probe.ids} & trained
    assert not set(np.concatenate(rows).tolist()) & set(names()[-UNSEEN_NAMES:].tolist())


@pytest.mark.parametrize("order", ["ABBA", "BABA"])
@pytest.mark.parametrize(
    ("template", "two_pair"), [(0, False), (5, False), (13, False), (-1, False), (2, True), (5, True)]
)
def test_ioi_probe_positions(template: int, two_pair: bool, order: str) -> None:
    probe = evaluate.ioi_prompts(1, 20, template, order=order, two_pair=two_pair)
    at = probe.positions
    np.testing.assert_array_equal(probe.ids[:, at["io"]], probe.answer)
    np.testing.assert_array_equal(probe.ids[:, at["s1"]], probe.foil)
    np.testing.assert_array_equal(probe.ids[:, at["s2"]], probe.foil)
    assert (probe.answer != probe.foil).all()
    assert at["end"] == probe.ids.shape[1] - 1
    assert (at["io"] < at["s1"]) == (order == "ABBA")
    assert all(text.endswith(" to") for text in probe.text)
    assert [corpus.encode(text) for text in probe.text] == probe.ids.tolist()
    moved = probe.with_end_of_text()
    np.testing.assert_array_equal(moved.ids[:, moved.positions["io"]], probe.answer)


def test_ioi_refuses_another_order() -> None:
    with pytest.raises(ValueError, match="ABBA"):
        evaluate.ioi_prompts(0, 2, order="ABAB")


def test_coloured_objects_probe_fits_and_answers_itself() -> None:
    for template in range(len(phrasings.COLORED)):
        probe = evaluate.colored_objects_prompts(2, 30, template)
        at = probe.positions
        assert probe.ids.shape[1] <= 127
        assert probe.foil is not None
        for row, answer, foil in zip(probe.ids, probe.answer, probe.foil, strict=True):
            colour = {row[at[f"object{i}"]]: row[at[f"color{i}"]] for i in range(3)}
            assert colour[row[at["asked"]]] == answer != foil
            assert foil in colour.values()
    assert "What color is the" in probe.text[0]
    assert probe.text[0].endswith(" A:")


def test_greater_than_probe_and_documents() -> None:
    probe = evaluate.greater_than_prompts(0, 40, 0)
    later, digits = later_years(probe.answer)
    tokens = vocabulary()
    for row, start in zip(later, probe.answer, strict=True):
        assert {tokens[i] for i in digits[row]} == {f"{v:02d}" for v in range(int(tokens[start]) + 1, 100)}
    for row in documents(20_000)["greater_than"]:
        years = [tokens[i] for i in row if tokens[i].isdigit()]
        assert int(years[0]) < int(years[1]), corpus.decode(row)
        assert " 19" not in {tokens[i] for i in row}


def test_induction_and_successor_probes() -> None:
    probe = evaluate.induction_prompts(0, 5, 10)
    np.testing.assert_array_equal(probe.ids[:, 10:], probe.ids[:, :9])
    np.testing.assert_array_equal(probe.ids[:, 9], probe.answer)
    days = evaluate.successor_prompts("DAYS")
    assert days.text[0] == " Monday, Tuesday, Wednesday, Thursday,"
    assert corpus.decode([days.answer[0]]) == " Friday"
    assert corpus.decode([evaluate.successor_prompts("YEARS", backwards=True).answer[0]]) == " 1995"


def asked(row: CognitiveItem) -> str:
    """The text of one item up to its answer, which follows with a leading space and then a full stop."""
    steps = "".join(f"{STEP} {step['q']}{ANSWER} {step['a']}{STOP}" for step in row["context"])
    return f"{TEXT} {row['question']}{steps}{STEP} {row['subquestion']}{ANSWER}"


def test_cognitive_items_are_consistent() -> None:
    rows = cognitive_items(0, 200)
    assert rows == cognitive_items(0, 200)
    assert len(rows) == 800
    assert {row["function"] for row in rows} == set(FUNCTIONS)
    assert len(FUNCTIONS) == 8
    assert {(row["function"], row["step"]) for row in rows} == {(f, s) for f in FUNCTIONS for s in range(4)}
    for row in rows:
        ids = corpus.encode(f"{asked(row)} {row['answer']}.")
        assert 1 not in ids
        assert len(ids) <= 127
        assert len(row["context"]) == row["step"]
        assert " " not in row["answer"]
    assert {len({row["split"] for row in rows if row["chain"] == chain}) for chain in {r["chain"] for r in rows}} == {1}
    train = {r["subquestion"] for r in rows if r["split"] != "test"}
    assert not train & {r["subquestion"] for r in rows if r["split"] == "test"}


def test_cognitive_answers_are_right() -> None:
    """Answers recomputed from the text of the passage."""
    checked: Counter[str] = Counter()
    for row in cognitive_items(1, 400):
        text = row["question"].replace(".", " .").split()
        ask = row["subquestion"].rstrip("?").split()
        counts = [words.NUMBERS.index(w) + 1 for w in text if w in words.NUMBERS]
        people = [text[i - 1] for i, w in enumerate(text) if w == "lives"]
        if "together" in ask:
            assert words.NUMBERS.index(row["answer"]) + 1 == sum(counts)
            checked["sum"] += 1
        elif ask[:2] == ["Who", "should"]:
            assert row["answer"] == people[int(counts[1] > counts[0])]
            checked["share"] += 1
        elif ask[:3] == ["What", "color", "is"]:
            assert text[text.index(ask[-1]) - 1] == row["answer"]
            checked["color"] += 1
        elif ask[0] == "Does" and "live" in ask:
            assert (text[text.index(ask[1]) + 3] == ask[-1]) == (row["answer"] == "yes")
            checked["lives"] += 1
        elif "speak" in ask and ask[0] == "Which":
            country = text[text.index(ask[-3]) + 3]
            assert dict(relation_pairs("country_to_language"))[country] == row["answer"]
            checked["language"] += 1
        elif "fewer" in ask:
            more = counts[people.index(ask[4])] > counts[people.index(ask[-1])]
            assert (row["answer"] == "yes") == more
            checked["fewer"] += 1
    assert min(checked[key] for key in ("sum", "share", "color", "lives", "language", "fewer")) >= 3


def test_distinct_rows_have_no_repeats() -> None:
    rows = distinct(np.random.default_rng(0), 500, 5, 6)
    assert all(len(set(row)) == 5 for row in rows.tolist())


def test_split_refuses_what_it_cannot_give_back() -> None:
    assert words.split(" lovely-> lovelier; edgy->") == (" lovely", "->", " lovelier", ";", " edgy", "->")
    with pytest.raises(ValueError, match="cannot split"):
        words.split("two  spaces")

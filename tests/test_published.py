from __future__ import annotations

from pathlib import Path

import pytest

from reportgen import published
from reportgen.errors import DataError, SettingsError
from reportgen.published import Paper, load_user, people, sets_for, short

ENTRY = """
[[paper]]
key = "a2020"
authors = "Ann Able"
year = 2020
title = "T"
venue = "V"

[[entry]]
model = "gpt2-small"
tl_official_name = "gpt2"
n_layers = 12
n_heads = 12
paper = "a2020"
class = "Some Heads"
heads = [[0, 1]]
where = "Fig. 1"
verified = true
source = "read"
overlay = "default"
"""


def test_the_shipped_catalogue_is_whole() -> None:
    found = published.load_catalogue()
    assert (len(found.papers), len(found.entries)) == (31, 92)
    movers = found.entries[0]
    assert (movers.name, movers.heads, movers.verified) == ("Name Mover Heads", ((9, 9), (10, 0), (9, 6)), True)
    assert all(lay < e.n_layers and head < e.n_heads for e in found.entries for lay, head in e.heads)


@pytest.mark.parametrize("hub_id", ["gpt2", "openai-community/gpt2", "GPT2", "gpt2-small"])
def test_sets_apply_by_hub_id_and_its_aliases(hub_id: str) -> None:
    assert "published/wang2022ioi/name_mover_heads" in [s.key for s in sets_for(hub_id)]


@pytest.mark.parametrize("hub_id", ["", "mini", "someone/gpt2", "gpt2-tuned", "distilgpt2", "./gpt2"])
def test_sets_never_apply_by_likeness(hub_id: str) -> None:
    assert sets_for(hub_id) == []


def test_a_key_stands_for_the_hub_id_of_a_copy() -> None:
    assert [s.key for s in sets_for("", "gpt2-medium")] == [s.key for s in sets_for("gpt2-medium")]
    with pytest.raises(SettingsError, match=r"--published 'gpt2-medum'.*gpt2-medium"):
        sets_for("", "gpt2-medum")


def test_a_list_for_another_grid_is_refused() -> None:
    assert sets_for("gpt2", shape=(12, 12))
    with pytest.raises(DataError, match=r"12 x 12 heads.*this model has 24 x 16"):
        sets_for("", "gpt2", shape=(24, 16))


def test_sets_carry_their_legend_source_and_doubt() -> None:
    sets = {s.key: s for s in sets_for("gpt2-medium")}
    movers = sets["published/merullo2023reuse/mover_heads"]
    assert (movers.legend, movers.source) == ("'Circuits Components Reused' classifications", "merullo2023reuse")
    assert (movers.verified, movers.kind) == (False, "published")
    gpt2 = {s.key: s.label for s in sets_for("gpt2")}
    assert gpt2["published/wang2022ioi/backup_name_mover_heads"] == "Backup Name-Mover Heads"
    assert gpt2["optional/wang2022ioi/backup_negative_name_mover_heads"] == "Backup (Negative) Name-Mover Heads"


def test_empty_and_switched_off_lists_are_left_out() -> None:
    assert not any("capital" in s.key for s in sets_for("gpt2-medium"))
    assert not any("pronoun" in s.key for s in sets_for("gpt2"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("heads = [[0, 1]]", "heads = [[12, 1]]"), r"entry 1 \(Some Heads\).*L12H1 is outside the grid of 12 layers"),
        (("heads = [[0, 1]]", "heads = [[0, 12]]"), r"L0H12 is outside the grid"),
        (("heads = [[0, 1]]", "heads = [[0, 1], [0, 1]]"), r"L0H1 is listed twice"),
        (("heads = [[0, 1]]", "heads = [[0, -1]]"), r"entry 1: Expected `int` >= 0"),
        (("heads = [[0, 1]]", 'heads = ["H1L2"]'), r"not a head name: 'H1L2'"),
        (('paper = "a2020"', 'paper = "a2021"'), r"paper 'a2021' is not in the file.*a2020"),
        (('overlay = "default"', 'overlay = "always"'), r"entry 1: Invalid enum value 'always'"),
        (("n_layers = 12", "n_layers = 0"), r"n_layers"),
        (("verified = true", "verified = true\nclas = 1"), r"unknown field `clas`"),
        (('where = "Fig. 1"', ""), r"where and source are"),
        (("overlay", "scores = [0.1, 0.2]\noverlay"), r"2 scores for 1 heads"),
        (("[[entry]]", "[entry]"), r"\[entry\] should be \[\[entry\]\]"),
        (("[[paper]]", "[[paper]]]"), r"not TOML"),
    ],
)
def test_a_malformed_entry_is_named(change: tuple[str, str], said: str) -> None:
    assert len(published.read_catalogue(ENTRY, "x.toml").entries) == 1
    with pytest.raises(DataError, match=said) as caught:
        published.read_catalogue(ENTRY.replace(*change), "x.toml")
    assert "x.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_users_list_needs_only_a_class_and_heads(tmp_path: Path) -> None:
    file = tmp_path / "my heads.toml"
    file.write_text('[[entry]]\nclass = "Mine"\nheads = ["L2H3", [1, 0]]\nweights = { L2H3 = 0.5 }\n', "utf-8")
    (found,) = load_user(file)
    assert (found.key, found.label, found.heads) == ("user/my_heads/mine", "Mine", ((2, 3), (1, 0)))
    assert (found.kind, found.verified, found.legend, found.source) == ("user", True, "Marked heads", "my heads.toml")
    assert found.weights == {"L2H3": 0.5}
    assert load_user(file, shape=(3, 4)) == [found]


def test_a_users_list_may_be_in_the_catalogues_own_format(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(ENTRY.replace('venue = "V"', 'venue = "V"\nnickname = "Able\'s heads"'), "utf-8")
    (found,) = load_user(file)
    assert (found.kind, found.source, found.legend) == ("user", "a2020", "Able's heads")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"no \[\[entry\]\]"),
        ('[[entry]]\nclass = "A"\n', r"entry 1: Object missing required field `heads`"),
        (
            '[[entry]]\nclass = "A"\nheads = ["L9H9"]\n',
            r"entry 1 \(A\): L9H9 is outside the grid of 3 layers x 4 heads",
        ),
        ('[[entry]]\nclass = "A"\nheads = ["L0H0"]\nn_layers = 2\nn_heads = 0\n', r"n_heads"),
        ('[[entry]]\nclass = "A"\nheads = ["L0H0"]\nweights = { L0H0 = 2.0 }\n', r"weight L0H0 = 2"),
        ('[[entry]]\nclass = "A"\nheads = ["L0H0"]\nweights = { L1H0 = 0.5 }\n', r"weight L1H0"),
        ('[[entry]]\nclass = "A"\nheads = ["L0H0"]\n[[entry]]\nclass = "a"\nheads = ["L0H1"]\n', r"'a' is given twice"),
        ('[[heads]]\nclass = "A"\n', r"unknown table 'heads'"),
        ("entry = 3", r"should be \[\[entry\]\]"),
    ],
)
def test_a_users_mistake_is_named_with_file_and_entry(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(DataError, match=said) as caught:
        load_user(file, shape=(3, 4))
    assert "mine.toml" in str(caught.value)


def test_a_file_that_cannot_be_read_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Can't read .*none\.toml: No such file"):
        load_user(tmp_path / "none.toml")
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"not UTF-8"):
        load_user(tmp_path / "bin.toml")


def test_citations_in_three_lengths() -> None:
    assert published.short_citation("wang2022ioi") == "Wang et al. 2022"
    assert published.short_citation("elhelo2024maps") == "Elhelo and Geva 2024"
    assert published.short_citation("nanda2023attribution") == "Nanda 2023"
    assert published.short_citation("unheard-of") == "unheard-of"
    assert published.citation("elhelo2024maps") == (
        "Amit Elhelo, Mor Geva (2024). Inferring Functionality of Attention Heads from their Parameters. "
        "ACL 2025 (long), pp. 17701-17733, 2025.acl-long.866. arXiv:2412.11965."
    )
    with pytest.raises(KeyError):
        published.citation("unheard-of")


@pytest.mark.parametrize("key", list(published.load_catalogue().papers))
def test_every_paper_has_a_balanced_bibtex_entry(key: str) -> None:
    text = published.bibtex(key)
    assert text.startswith(f"@misc{{{key},\n")
    assert text.count("{") == text.count("}")
    assert " et al" not in text.split("title", 1)[0]
    assert "," not in text.split("author = {", 1)[1].split("}", 1)[0]


def test_unnamed_authors_become_others() -> None:
    paper = Paper("k", "Catherine Olsson et al.", 2022, "T", "V")
    assert people(paper) == ["Catherine Olsson", "others"]
    assert short(paper) == "Olsson et al. 2022"
    bracketed = Paper("k", "A One, B Two (with C Three, D Four)", 2023, "T", "V")
    assert people(bracketed) == ["A One", "B Two"]


def test_the_papers_that_suites_cite_are_there() -> None:
    for key in ("cognitive2025mirrors", "draye2025sparse", "syed2023eap", "hernandez2023lre", "olsson2022induction"):
        assert published.citation(key)

"""Pair lists: what is read, what is refused and in which words, what a tokenizer keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reportgen.errors import DataError, SettingsError
from reportgen.suites.relations.data import data_files, keep, load_relations, load_templates, read_pairs
from tests.suites.relations.plain import PlainTokens


def folder(path: Path, **lists: object) -> str:
    for name, pairs in lists.items():
        (path / f"{name}.json").write_text(pairs if isinstance(pairs, str) else json.dumps(pairs), encoding="utf-8")
    return str(path)


def test_the_bundled_lists_load_in_the_order_of_their_table() -> None:
    relations = load_relations()
    assert len(relations) == 20
    assert relations[0].stem == "copying"
    assert {r.category for r in relations} == {"Algorithmic", "Knowledge", "Linguistic", "Translation"}
    assert {r.stem for r in relations if r.copying} == {"copying", "name_copying"}
    assert all(len(r.pairs) >= 30 and r.title and r.provenance for r in relations)
    assert all("<X>" in template for template in load_templates())


def test_a_list_may_stand_in_a_folder_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "colour_to_fruit").mkdir()
    (tmp_path / "colour_to_fruit" / "colour_to_fruit.json").write_text('[["red", "apple"]]')
    (tmp_path / "colour_to_fruit" / "notes.json").write_text("not a pair list")
    root = folder(tmp_path, my_copying=[["a", "a"], ["a", "a"]])
    mine = {r.stem: r for r in load_relations(root)}
    assert set(mine) == {"colour_to_fruit", "my_copying"}
    assert mine["colour_to_fruit"].title == "colour_to_fruit (red → apple)"
    assert (mine["colour_to_fruit"].copying, mine["my_copying"].copying) == (False, True)
    assert mine["my_copying"].pairs == (("a", "a"), ("a", "a"))
    assert load_templates(root) == load_templates()


def test_the_table_names_and_orders_and_may_know_lists_that_are_not_there(tmp_path: Path) -> None:
    root = folder(tmp_path, a=[["x", "y"]], b=[["x", "y"]])
    (tmp_path / "relations.toml").write_text(
        'templates = ["Of <X>"]\n[elsewhere]\ntitle = "T"\n[b]\ntitle = "Bee"\ncategory = "Knowledge"\nk = 4\n'
        'copying = true\nprompt = "<X> is"\n'
    )
    relations = load_relations(root)
    assert [(r.stem, r.title, r.category, r.copying) for r in relations] == [
        ("b", "Bee", "Knowledge", True),
        ("a", "a (x → y)", "Other", False),
    ]
    assert [(r.k, r.prompt) for r in relations] == [(4, "<X> is"), (0, "")]
    assert load_templates(root) == ("Of <X>",)
    assert [path.name for path in data_files(root)] == ["a.json", "b.json", "relations.toml"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[["a", "b"], ["c"]]', "entry 2: ['c'], expected [source, target]"),
        ('[["a", 3]]', "entry 1: ['a', 3], expected [source, target]"),
        ('["ab"]', "entry 1: 'ab', expected [source, target]"),
        ('[["a", " b"]]', "entry 1: ['a', ' b'], expected words without space"),
        ('[["a", ""]]', "expected words without space"),
        ('[["a", "b\\u0007"]]', "expected words without space"),
        ('{"a": "b"}', "a JSON dict, expected a list"),
        ('[["a", "b"', "not JSON (Expecting"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_malformed_is_refused_with_file_and_entry(tmp_path: Path, content: str, words: str) -> None:
    root = folder(tmp_path, broken=content)
    with pytest.raises(DataError) as refused:
        load_relations(root)
    assert "broken.json" in str(refused.value)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'[["\xff", "b"]]')
    with pytest.raises(DataError, match=r"a\.json, line 1: not UTF-8 text"):
        read_pairs(path)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("a = 3", r"a: expected a table \[a\]"),
        ("[a]\ntitel = 'x'", r"\[a\]: no field 'titel'\. Did you mean title"),
        ("[a]\ncopying = 'yes'", r"\[a\], copying: 'yes', expected bool"),
        ("[a]\nk = true", r"\[a\], k: True, expected int"),
        ("[a]\nk = 0", r"\[a\], k: 0, expected 1 to 1,000,000"),
        ("[a]\nprompt = 'of X is'", r"\[a\], prompt: 'of X is', expected a prompt with one <X>"),
        ("[a]\ncategory = ' '", r"\[a\], category: ' ', expected a name"),
        ("[a", "not TOML"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path: Path, toml: str, words: str) -> None:
    root = folder(tmp_path, a=[["x", "y"]])
    (tmp_path / "relations.toml").write_text(toml)
    with pytest.raises(DataError, match=words):
        load_relations(root)


def test_templates_without_a_place_for_the_source_are_refused(tmp_path: Path) -> None:
    (tmp_path / "relations.toml").write_text('templates = ["The story of <X>", "A story"]')
    with pytest.raises(DataError, match="<X>"):
        load_templates(str(tmp_path))


def test_a_folder_without_lists_and_no_folder_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pair list"):
        load_relations(str(tmp_path))
    with pytest.raises(DataError, match="no folder"):
        load_relations(str(tmp_path / "nowhere"))


def test_file_names_and_doubles_are_checked(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.json").write_text("[]")
    root = folder(tmp_path, a=[])
    with pytest.raises(DataError, match="twice"):
        load_relations(root)
    (tmp_path / "a" / "a.json").unlink()
    (tmp_path / "b c.json").write_text("[]")
    with pytest.raises(DataError, match="letters, digits"):
        load_relations(root)


def test_an_unknown_relation_is_refused_with_the_nearest(tmp_path: Path) -> None:
    root = folder(tmp_path, capitals=[], colours=[])
    assert [r.stem for r in load_relations(root, ["colours"])] == ["colours"]
    with pytest.raises(SettingsError, match="Did you mean capitals"):
        load_relations(root, ["capital"])


def test_pairs_are_kept_when_both_words_are_one_token(tmp_path: Path) -> None:
    root = folder(tmp_path, r=[["w1", "w2"], ["w1", "many"], ["some", "w2"], ["w9", "w1"], ["w1", "w2"]])
    kept = keep(load_relations(root)[0], PlainTokens(5))
    assert kept.pairs == (("w1", "w2"), ("w1", "w2"))
    assert (kept.sources, kept.targets) == ((1, 1), (2, 2))
    assert kept.labels == ("w1 -> w2", "w1 -> w2")

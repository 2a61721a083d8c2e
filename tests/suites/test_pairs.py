"""Pair lists: what is read, what is refused and in which words, what a tokenizer keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reportgen.errors import DataError, SettingsError
from reportgen.selftest.planted import PlainTokens
from reportgen.suites.pairs import data_files, keep, load_relations, load_templates, read_pairs, unread
from reportgen.suites.relations.suite import SUITE, RelationsSettings
from tests import fixtures


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
    assert mine["colour_to_fruit"].title == "Colour to fruit (red → apple)"
    assert (mine["colour_to_fruit"].copying, mine["my_copying"].copying) == (False, True)
    assert mine["my_copying"].pairs == (("a", "a"), ("a", "a"))
    assert load_templates(root) == load_templates()


def test_a_list_may_carry_its_title_alone_in_a_folder_or_beside_others(tmp_path: Path) -> None:
    titled = '{"title": "Singular to plural", "pairs": [["cat", "cats"]]}'
    (tmp_path / "alone.json").write_text(titled)
    (tmp_path / "several.json").write_text(f'{{"sg_to_pl": {titled}, "title": [["a", "b"]], "pairs": [["c", "d"]]}}')
    (alone,) = load_relations(str(tmp_path / "alone.json"))
    several = load_relations(str(tmp_path / "several.json"))
    (tmp_path / "folder").mkdir()
    (inside,) = load_relations(folder(tmp_path / "folder", sg_to_pl=titled))
    for found in (alone, several[0], inside):
        assert (found.title, found.pairs) == ("Singular to plural", (("cat", "cats"),))
    assert [r.stem for r in several] == ["sg_to_pl", "title", "pairs"]  # names like any other where they are no words
    assert several[1].title == "Title (a → b)"
    (tmp_path / "folder" / "relations.toml").write_text('[sg_to_pl]\ntitle = "Plural"\n')
    assert load_relations(str(tmp_path / "folder"))[0].title == "Plural"


def test_the_table_names_and_orders(tmp_path: Path) -> None:
    root = folder(tmp_path, a=[["x", "y"]], b=[["x", "y"]])
    (tmp_path / "relations.toml").write_text(
        'templates = ["Of <X>"]\n[b]\ntitle = "Bee"\ncategory = "Knowledge"\nk = 4\ncopying = true\nprompt = "<X> is"\n'
    )
    relations = load_relations(root)
    assert [(r.stem, r.title, r.category, r.copying) for r in relations] == [
        ("b", "Bee", "Knowledge", True),
        ("a", "A (x → y)", "Other", False),
    ]
    assert [(r.k, r.prompt) for r in relations] == [(4, "<X> is"), (0, "")]
    assert load_templates(root) == ("Of <X>",)
    assert [path.name for path in data_files(root)] == ["a.json", "b.json", "relations.toml"]


def test_a_section_without_its_list_is_refused_and_other_files_are_named(tmp_path: Path) -> None:
    root = folder(tmp_path, cap=[["x", "y"]])
    (tmp_path / "sub").mkdir()
    for name in ("b.txt", "A2.JSON", "sub/other.json", ".hidden"):
        (tmp_path / name).write_text('[["x", "y"]]')
    assert unread(root) == ["A2.JSON", "b.txt", "sub/other.json"]
    assert (unread(""), unread(str(tmp_path / "cap.json"))) == ([], [])
    settings = RelationsSettings(relations_dir=root, min_pairs=1)
    assert "A2.JSON, b.txt, sub/other.json" in SUITE.drops(settings, PlainTokens(2), 0)[1]  # type: ignore[arg-type]
    (tmp_path / "relations.toml").write_text('[capp]\ntitle = "Capitals"\n')
    with pytest.raises(DataError, match=r"\[capp\] has no pair list capp.json.*cap"):
        load_relations(root)


def test_an_estimate_is_of_the_lists_there_are(tmp_path: Path) -> None:
    root = folder(tmp_path, cap=[["x", "y"], ["z", "y"]])

    def names(**more: object) -> set[str]:
        settings = RelationsSettings(relations_dir=root, **{"min_pairs": 1, **more})  # type: ignore[arg-type]
        return {phase.name.split(",")[0] for phase in SUITE.cost(fixtures.model_record(), settings)}

    assert names() >= {"dynamic scores"}
    assert "causal ablation" not in names()  # none has a prompt
    assert "dynamic scores" not in names(dynamic=False)
    assert "dynamic scores" not in names(min_pairs=3)  # none has enough pairs
    (tmp_path / "relations.toml").write_text('[cap]\nprompt = "<X> is"\n')
    assert "causal ablation" in names(dynamic=False)
    assert "causal ablation" not in names(ablation=False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[["a", "b"], ["c"]]', "entry 2: ['c'], expected [source, target]"),
        ('[["a", 3]]', "entry 1: ['a', 3], expected [source, target]"),
        ('["ab"]', "entry 1: 'ab', expected [source, target]"),
        ('[["a", " b"]]', "entry 1: ['a', ' b'], expected words without space"),
        ('[["a", ""]]', "expected words without space"),
        ('[["a", "b\\u0007"]]', "expected words without space"),
        ('{"a": "b"}', "{'a': 'b'}. Expected a list of [source, target], or {"),
        ('{"title": "A", "pairs": {"a": "b"}}', "{'a': 'b'}. Expected a list of [source, target], or {"),
        ('{"title": " ", "pairs": [["a", "b"]]}', "title: ' ', expected a name"),
        ('{"title": 1, "pairs": [["a", "b"]]}', "title: 1, expected str"),
        ('{"title": "A", "pairs": [["a"]]}', "entry 1: ['a'], expected [source, target]"),
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

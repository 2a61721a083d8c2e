"""Files shown in the pages, given to what reads them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from reportgen.config import merge, read_config
from reportgen.published import load_user
from reportgen.site import read_site
from reportgen.suites.circuits.tasks import user
from reportgen.suites.pairs import load_relations, load_templates
from reportgen.suites.sparse import suite
from reportgen.sweep.spec import make_spec, read_spec
from tests.docs.reading import DOCS, PAGES, ROOT, blocks


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def one(page: str, language: str, part: str) -> str:
    """The one block of a page that has this text in it."""
    (found,) = [block for block in blocks(DOCS / page, language) if part in block]
    return found


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_toml_and_json_are_well_formed(page: Path) -> None:
    for block in blocks(page, "toml"):
        tomllib.loads(block)
    for block in blocks(page, "json"):
        json.loads(block)


def test_prompt_pairs(tmp_path: Path) -> None:
    lines = user.read(str(written(tmp_path / "pairs.jsonl", one("data.md", "json", "corrupted"))), ())
    assert list(lines) == ["plural"]


def test_relations(tmp_path: Path) -> None:
    written(tmp_path / "relations.toml", one("data.md", "toml", "[colour_to_fruit]"))
    written(tmp_path / "colour_to_fruit.json", '[["red", "apple"]]')
    (relation,) = load_relations(str(tmp_path))
    assert (relation.title, relation.category) == ("Colour to fruit", "Knowledge")
    assert load_templates(str(tmp_path)) == ("The story of <X> contains",)


def test_relations_of_one_file(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.json", one("data.md", "json", "singular_to_plural"))
    assert [(r.stem, len(r.pairs)) for r in load_relations(str(file))] == [
        ("colour_to_fruit", 2),
        ("singular_to_plural", 2),
    ]


def test_a_relation_with_its_title(tmp_path: Path) -> None:
    (relation,) = load_relations(str(written(tmp_path / "mine.json", one("data.md", "json", "sg_to_pl"))))
    assert (relation.title, len(relation.pairs)) == ("Singular to plural", 2)


def test_prompts_of_the_sparse_suite(tmp_path: Path) -> None:
    task = suite.read_task(written(tmp_path / "plurals.toml", one("data.md", "toml", 'title = "plurals"')))
    assert (len(task.templates), len(task.pairs), task.drawn) == (3, 3, ("cat", "cats"))
    (group,) = suite.read_feature_groups(written(tmp_path / "groups.json", one("data.md", "json", '"position"')))
    assert (group.name, group.layers) == ("large", (0, 3))


def test_settings(tmp_path: Path) -> None:
    options = merge(read_config(written(tmp_path / "reportgen.toml", one("data.md", "toml", "preset ="))), {})
    assert (options.model, options.preset, options.settings["relations"]["tau"]) == ("mini", "full", 0.2)


def test_overlay(tmp_path: Path) -> None:
    (heads,) = load_user(written(tmp_path / "mine.toml", one("data.md", "toml", "[[entry]]")))
    assert heads.heads == ((9, 6), (9, 9))


def test_sweep(tmp_path: Path) -> None:
    spec = make_spec(read_spec(written(tmp_path / "sweep.toml", one("sweeps.md", "toml", "[[models]]"))), {})
    assert [model.model for model in spec.models] == ["EleutherAI/pythia-70m", "./mini-trained"]


def test_site(tmp_path: Path) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    written(tmp_path / "runs" / "one" / "run.json", "{}")
    site, folders = read_site(written(tmp_path / "site.toml", one("publish.md", "toml", "runs =")))
    assert site.url == "https://me.github.io/heads/"
    assert [folder.name for folder in folders] == ["one"]


def test_workflow() -> None:
    """What the page's workflow calls is there and takes what it is given."""
    called = one("publish.md", "yaml", "uses:")
    name = re.search(r"uses: reportgen/reportgen/(\S+)@main", called)
    assert name is not None
    real = (ROOT / name[1]).read_text("utf-8")
    inputs = re.findall(r"^      (\w+):$", real.split("workflow_call:")[1].split("permissions:")[0], re.MULTILINE)
    assert set(re.findall(r"^ +(\w+): \w+$", called.split("with:")[1], re.MULTILINE)) == {"runs"} <= set(inputs)
    text = (DOCS / "publish.md").read_text("utf-8")
    assert {"runs", "config", "reportgen"} == set(inputs)
    assert "`config: site.toml`" in text

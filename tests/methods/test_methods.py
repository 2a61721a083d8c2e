"""What `reportgen methods` says is the run's: numbers, settings, sources; as text, Markdown, LaTeX and a card."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reportgen import suites
from reportgen.cli import app
from reportgen.errors import RunError, SettingsError
from reportgen.methods.account import account, time_words
from reportgen.methods.crate import CRATE, PROFILE, crate
from reportgen.methods.write import FORMATS
from reportgen.published import load_catalogue
from reportgen.runfolder import Run, RunWriter
from tests.fixtures import write_kept, write_run

SITE = Path(__file__).parents[2] / "site" / "runs"
SMOL, MINI = SITE / "smollm2-135m-instruct", SITE / "mini"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert app(["methods", *words], prog_name="reportgen", standalone_mode=False) is None
    return capsys.readouterr().out


def test_the_paragraphs_say_what_the_run_says() -> None:
    run = Run.open(SMOL)
    found = account(run)
    text = FORMATS["text"](found)
    model = run.model
    assert f"all {model.n_layers * model.n_heads} attention heads of SmolLM2-135M-Instruct" in text
    for words in (f"sha256 {model.content_hash[:12]}", "dequantised from Q4_1", "Preset quick, seed 0", "float32"):
        assert words in text, words
    for name in run.done():
        result = run.result(name)
        counts = sorted({score.n for score in result.scores if score.n})
        paragraph = found.done[1 + run.done().index(name)]
        assert any(f"n = {counts[0]:,}" in sentence.text for sentence in paragraph), name
    assert found.hours == pytest.approx(
        sum(r.elapsed_s for r in run.manifest.suites.values() if r.status == "done") / 3600
    )
    assert set(found.cites) <= set(load_catalogue().papers)
    assert len(found.cites) >= len(run.done())


def test_a_suite_that_scored_no_head_says_so() -> None:
    run = Run.open(SMOL.parent / "mini")
    assert not run.result("icl").scores  # mini learns none of its tasks
    text = FORMATS["text"](account(run))
    (why,) = {one.why for one in run.result("icl").not_computed}
    assert f"No score of a head was computed: {why}." in text
    assert "Retrieval was not scored: its context has 128 tokens, at least 256 are needed." in text
    assert "Retrieval" not in FORMATS["text"](account(run, ["icl"]))
    smol = FORMATS["text"](account(Run.open(SMOL)))
    assert "Sparse against dense circuits was not scored: SmolLM2-135M-Instruct.Q4_1 has no sparse copy." in smol


@pytest.mark.parametrize("folder", [SMOL.parent / "mini", SMOL], ids=["mini", "smollm2"])
def test_every_suite_of_the_published_runs_is_described(folder: Path) -> None:
    """Title, n and null of each that scored heads; why not, of the others; whose its data are."""
    run = Run.open(folder)
    found = account(run)
    text = FORMATS["text"](found)
    assert set(run.manifest.suites) == {suite.name for suite in suites.BUILT_IN}
    licences = dict(found.answers)["Licence of the data"]
    for suite in suites.BUILT_IN:
        if suite.name not in run.done():
            assert f"{suite.title} was not scored: " in text
            continue
        (said,) = [" ".join(s.text for s in p) for p in found.done if p[0].text.startswith(f"{suite.title}: ")]
        assert f"{suite.title}: {suite.licence}" in licences
        if run.result(suite.name).scores:
            assert "n = " in said
            null = any(s.p is not None or s.line is not None for s in run.result(suite.name).scores)
            assert ("Null" in said) == null
        assert ".." not in said
        assert "nan" not in said.split()
    assert "Scores of each head: ." not in text


def test_draft_answers_count_what_is_stored() -> None:
    run = Run.open(MINI)
    scores = [score for result in run.results.values() for score in result.scores]
    words = dict(account(run).answers)
    assert (
        f"{sum(s.low is not None for s in scores)} of {len(scores)} score maps" in words["Error bars and significance"]
    )
    tested = sum(s.p is not None or s.line is not None for s in scores)
    assert f"{tested} have a p-value or a threshold per head" in words["Error bars and significance"]
    assert "other training seeds" in words["Error bars and significance"]
    assert words["Licence of the weights"] == "The model comes with reportgen, under the MIT licence."
    assert "CC0 1.0" in words["Licence of the data"]
    peak = max(r.peak_memory_bytes for r in run.manifest.suites.values()) / 1e9
    assert f"{peak:.1f} GB of RAM" in words["Compute"]


def test_own_data_and_settings_are_named(tmp_path: Path) -> None:
    shutil.copytree(MINI, tmp_path / "mini")
    run = Run.open(tmp_path / "mini")
    name = run.done()[0]
    record = run.manifest.suites[name]
    changed = msgspec.structs.replace(
        record, data={"my_text.txt": "0" * 64}, settings={**record.settings, "sequences": 48}
    )
    hub = msgspec.structs.replace(run.model, source="hub", hub_id="owner/model", revision="ab" * 20)
    with RunWriter(run.path, run.manifest) as writer:
        suites = {**run.manifest.suites, name: changed}
        writer.save(msgspec.structs.replace(run.manifest, suites=suites, model=hub))
    found = account(Run.open(run.path), [name])
    text = FORMATS["text"](found)
    assert f"{name} read my_text.txt: state their licence" in text
    assert "Settings other than those of the preset quick: sequences 48." in text
    assert "state the licence on https://huggingface.co/owner/model" in text
    assert "owner/model, revision abababababab" in text
    assert len(found.compute) == 1


@pytest.mark.parametrize("name", ["text", "md", "latex"])
def test_every_format_has_every_part(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, str(MINI), "--format", name)
    for words in ("attention heads of mini", "Error bars", "Compute", "GB"):
        assert words in text
    if name == "latex":
        body = re.sub(r"(?m)^%.*$", "", text)
        keys = {key for group in re.findall(r"\\citep\{([^}]*)\}", body) for key in group.split(",")}
        assert keys == set(account(Run.open(MINI)).cites)
        assert body.count("{") == body.count("}")
        assert not re.search(r"(?<!\\)[%_#$]", re.sub(r"\\citep\{[^}]*\}|\$\\times\$", "", body))
    else:
        assert "(Wang et al. 2022; Merullo et al. 2023; Nanda 2023)" in text


def test_what_cannot_be_described_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no finished suite 'attentoin'"):
        account(Run.open(MINI), ["attentoin"])
    with pytest.raises(SettingsError, match=r"--format 'tex'.*latex"):
        app(["methods", str(MINI), "--format", "tex"], prog_name="reportgen", standalone_mode=False)
    with pytest.raises(RunError, match="no finished suite"):
        account(write_run(tmp_path / "empty"))
    own = account(write_run(tmp_path / "own", "mine"))
    assert "a suite that is not installed here" in own.done[1][0].text


def test_names_from_models_are_escaped(tmp_path: Path) -> None:
    shutil.copytree(MINI, tmp_path / "mini")
    run = Run.open(tmp_path / "mini")
    hostile = msgspec.structs.replace(run.model, title="a_b & <i>\\end{document}|x")
    with RunWriter(run.path, run.manifest) as writer:
        writer.save(msgspec.structs.replace(run.manifest, model=hostile))
    found = account(Run.open(run.path), [run.done()[0]])
    assert r"a\_b \& \textless{}i\textgreater{}\textbackslash{}end\{document\}\textbar{}x" in FORMATS["latex"](found)
    assert r"a\_b & \<i>" in FORMATS["md"](found)


def test_the_card_s_block_is_a_model_index(capsys: pytest.CaptureFixture[str]) -> None:
    """Read by huggingface_hub itself, whose parser the hub uses: names, values and intervals are the run's."""
    from huggingface_hub import ModelCard

    text = printed(capsys, str(SMOL), "--format", "card", "--suite", "attention,relations")
    results = ModelCard(text).data.eval_results
    run = Run.open(SMOL)
    score = run["attention/induction"]
    assert score.held_out is not None
    (found,) = [r for r in results if r.metric_type == "induction"]
    assert found.task_type == "text-generation"
    assert found.metric_value == round(score.held_out.value, 4)
    assert found.metric_args["head"] == score.held_out.head
    assert found.metric_args["interval_95"] == [round(score.held_out.low, 4), round(score.held_out.high, 4)]
    assert len(results) == 30
    scored = [s for name in ("attention", "relations") for s in run.result(name).scores]
    left = sum(bool(s.held_out or s.ranking()) for s in scored) - 30
    assert f"{left} more scores are in the run's report." in text


def test_it_needs_no_torch() -> None:
    code = f"""
import sys
sys.argv = ["reportgen", "methods", {str(MINI)!r}]
from reportgen.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code
print([name for name in ("torch", "transformers", "scipy", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_times_are_short() -> None:
    assert [time_words(hours) for hours in (0.001, 0.01, 0.1, 1.5, 12)] == [
        "3.6 s",
        "36 s",
        "6.0 min",
        "90.0 min",
        "12.0 h",
    ]


# The crate.


def entities(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    graph = found["@graph"]
    by_id = {entity["@id"]: entity for entity in graph}
    assert len(by_id) == len(graph)  # an id is one entity
    return by_id


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            return [value["@id"]]
        return [name for inner in value.values() for name in references(inner)]
    return [name for inner in value for name in references(inner)] if isinstance(value, list) else []


@pytest.mark.parametrize("folder", [MINI, SMOL])
def test_the_crate_has_what_the_profile_requires(folder: Path) -> None:
    """RO-Crate 1.3 and Process Run Crate 0.6: what they call MUST, and SHOULD where the run knows it."""
    run = Run.open(folder)
    found = crate(run)
    assert found["@context"][0] == f"{CRATE}/context"
    known = entities(found)
    for entity in known.values():
        assert set(references(entity)) <= {*known, CRATE}, entity["@id"]
    about, root = known["ro-crate-metadata.json"], known["./"]
    assert about["conformsTo"] == {"@id": CRATE}
    assert about["about"] == {"@id": "./"}
    assert root["conformsTo"] == {"@id": PROFILE}
    assert {"name", "description", "datePublished", "license", "hasPart", "mentions"} <= root.keys()
    assert "Profile" in known[PROFILE]["@type"]
    for name in references(root["hasPart"]):
        assert known[name]["@type"] == "File"
        assert (folder / name).is_file()
        assert int(known[name]["contentSize"]) == (folder / name).stat().st_size
    actions = [known[name] for name in references(root["mentions"])]
    assert [a["@id"] for a in actions] == [f"#run-{name}" for name in run.done()]
    for action, suite in zip(actions, run.done(), strict=True):
        tool = known[action["instrument"]["@id"]]
        assert tool["@type"] == "SoftwareApplication"
        assert tool["version"] == run.manifest.scored()[suite].versions["reportgen"]
        assert {"name", "description", "agent", "object", "result"} <= action.keys()
        assert references(action["result"]) == [f"scores/{name}" for name in run.manifest.suites[suite].sha256]
        values = {known[n]["name"]: known[n]["value"] for n in references(action["object"]) if "value" in known[n]}
        assert values[f"run of {suite}, seed"] == run.manifest.scored()[suite].seed
        assert {f"{suite}.{name}" for name in run.manifest.suites[suite].settings} <= values.keys()
    assert any(run.model.content_hash in str(entity.get("identifier")) for entity in known.values())


def test_the_crate_has_every_file_of_the_run(tmp_path: Path) -> None:
    """But for the report, which is drawn from them; figures kept of a user's suite belong to the run."""
    for run in (write_kept(tmp_path / "kept"), Run.open(MINI), Run.open(SMOL)):
        found = {entity["@id"]: entity for entity in crate(run)["@graph"]}
        parts = {part["@id"] for part in found["./"]["hasPart"]}
        files = {p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file() and p.name != ".lock"}
        assert parts == {name for name in files if not name.startswith("report/") and name != "ro-crate-metadata.json"}
        assert parts <= set(found)
    assert "drawn/mine.json" in {e["@id"] for e in crate(Run.open(tmp_path / "kept"))["@graph"]}


def test_rocrate_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = pytest.importorskip("rocrate.rocrate")
    shutil.copytree(MINI, tmp_path / "mini")
    out = printed(capsys, str(tmp_path / "mini"), "--crate")
    assert Path(out.strip()) == tmp_path / "mini" / "ro-crate-metadata.json"
    found = library.ROCrate(tmp_path / "mini")
    assert found.root_dataset["conformsTo"].id == PROFILE
    assert {entity.id for entity in found.data_entities} >= {"run.json", "scores/attention.json"}
    assert Run.open(tmp_path / "mini").done() == Run.open(MINI).done()  # the folder is still a run


def test_the_crate_is_written_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "made", "mine")
    path = Path(printed(capsys, str(run.path), "--crate").strip())
    assert json.loads(path.read_text("utf-8")) == json.loads(msgspec.json.encode(crate(run)))

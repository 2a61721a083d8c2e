"""The command line as a user meets it: one line and exit 2 for mistakes, and every verb on a tiny model."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reportgen import cli
from reportgen.cli import app
from reportgen.errors import SettingsError
from reportgen.imported.store import TableSource, import_table
from reportgen.mini.vocab import vocabulary
from reportgen.runfolder import Run
from tests.fixtures import write_run
from tests.models.hub_server import HubServer
from tests.tiny import tiny_folder

TOY = str(Path(__file__).parent / "data" / "toy_suite.py")


def reportgen(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "reportgen", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env})


def refused(*words: str) -> str:
    """The one line of a refusal with exit 2, of the command's entry point in this process."""
    out, said = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        patch.setattr(sys, "argv", ["reportgen", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
    signal.signal(signal.SIGTERM, before)
    assert end.value.code == 2, said.getvalue()
    lines = [line for line in said.getvalue().splitlines() if line and not line.startswith("Loading ")]
    assert len(lines) == 1, said.getvalue()
    assert lines[0].startswith("reportgen: ")
    return lines[0]


def test_a_refusal_of_the_installed_command_is_the_same() -> None:
    done = reportgen("run", "--suite", "relation")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == refused("run", "--suite", "relation") + "\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("gpt2", tmp_path_factory.mktemp("tiny") / "tiny-gpt2")


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    words = ("run", str(model), "--suite", "attention", "--out", str(out), "--threads", "1", "--json")
    done = reportgen(*words)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "stage"
    assert events[-1]["event"] == "done"
    assert events[-1]["failed"] == []
    return out / "tiny-gpt2"


def test_run_writes_the_report(run: Path) -> None:
    for name in ("index.html", "report.pdf", "scores.csv", "figures/attention-induction.svg"):
        assert (run / "report" / name).stat().st_size > 100


def test_render_without_torch(run: Path) -> None:
    code = (
        "import sys\nsys.argv = ['reportgen', 'render', sys.argv[1]]\n"
        "from reportgen.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert 'altair' in sys.modules\n"
        "assert not {'torch', 'transformer_lens', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["svg", "pdf", "png", "csv", "tex", "json"])
def test_one_figure_in_each_format(run: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"x.{kind}"
    words = ["figure", str(run), "attention-induction", "--format", kind, "--width", "3.25in", "--out", str(out)]
    app(words, standalone_mode=False)
    assert out.stat().st_size > 100


def test_the_latex_file_names_the_figures_pdf_where_it_is(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "paper" / "x.tex"
    out.parent.mkdir()

    def included() -> Path:
        done = reportgen("figure", str(run), "attention-induction", "--out", str(out))
        assert done.returncode == 0, done.stderr
        return Path(out.read_text().split("\\includegraphics[width=\\linewidth]{")[1].split("}")[0])

    assert (out.parent / included()).resolve() == run.resolve() / "report" / "figures" / "attention-induction.pdf"
    for place in (Path("figures"), Path()):
        (out.parent / place).mkdir(exist_ok=True)
        (out.parent / place / "attention-induction.pdf").write_bytes(b"%PDF")
        assert included() == place / "attention-induction.pdf"


@pytest.mark.parametrize(("name", "starts"), [("x.pdf", b"%PDF"), ("x.PNG", b"\x89PNG"), ("x.svg", b"<svg")])
def test_the_ending_of_out_decides_the_format(run: Path, tmp_path: Path, name: str, starts: bytes) -> None:
    out = tmp_path / name
    done = reportgen("figure", str(run), "attention-induction", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(starts)


def test_an_ending_that_contradicts_the_format_or_says_none_is_refused(run: Path, tmp_path: Path) -> None:
    def asked(name: str, *more: str) -> str:
        said = refused("figure", str(run), "attention-induction", "--out", str(tmp_path / name), *more)
        assert not list(tmp_path.iterdir())
        return said

    assert "ends in .pdf, --format says svg" in asked("x.pdf", "--format", "svg")
    assert ".svg, .pdf, .png" in asked("x.jpg")
    assert "has no ending" in asked("x")


def test_figure_without_an_id_lists_all_and_an_unknown_id_does_too(run: Path) -> None:
    done = reportgen("figure", str(run))
    lines = done.stdout.splitlines()
    ids = {line.split()[0] for line in lines}
    assert ids == {path.stem for path in (run / "report" / "figures").glob("*.svg")}
    assert any(line.startswith("attention-induction ") and "Induction attention" in line for line in lines)
    wrong = reportgen("figure", str(run), "attention-inductoin")
    assert (wrong.returncode, wrong.stdout) == (2, done.stdout)


def test_render_stores_overlays_and_says_in_whose_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t.csv"
    table.write_text("induction\n" + "0.5\n" * 5 + "0.75\n")
    own = import_table(table, TableSource("m", 2, 3), tmp_path / "runs").path
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(f'[[entry]]\nclass = "Set {name}"\nheads = ["L1H1"]\n')

    def marked(*words: str) -> tuple[bool, bool]:
        app(["render", str(own), *words], standalone_mode=False)
        said.append(capsys.readouterr().err)
        app(["figure", str(own), "imported-induction", "--out", str(tmp_path / "f.csv")], standalone_mode=False)
        rendered = (own / "report" / "figures" / "imported-induction.csv").read_text()
        assert (tmp_path / "f.csv").read_text() == rendered  # figure draws what render drew
        return "Set one" in rendered, "Set two" in rendered

    said: list[str] = []
    assert marked("--overlay", str(tmp_path / "one.toml")) == (True, False)
    assert marked() == (True, False)
    assert marked("--no-overlay") == (False, False)
    assert marked() == (True, False)
    assert marked("--overlay", str(tmp_path / "two.toml")) == (False, True)
    assert "stores two.toml instead of one.toml" in said[-1]
    assert [path.name for path in (own / "overlays").iterdir()] == ["two.toml"]
    with pytest.raises(SettingsError, match="contradicts"):
        app(["render", str(own), "--no-overlay", "--overlay", str(tmp_path / "one.toml")], standalone_mode=False)


def test_figure_names_the_nearest(run: Path) -> None:
    assert "attention-induction" in refused("figure", str(run), "attention-inductoin")
    assert "svg" in refused("figure", str(run), "attention-induction", "--format", "svgz")
    assert "3.25in" in refused("figure", str(run), "attention-induction", "--width", "wide")


def test_unknown_suite_verb_option_and_preset() -> None:
    assert "Did you mean relations" in refused("run", "--suite", "relation")
    assert "No such command 'rnu'" in refused("rnu")
    assert "--bogus" in refused("run", "--bogus")
    assert "quick" in refused("run", "--preset", "quik")
    assert "viridis" in refused("run", "--cmap", "viridsi")


def test_a_missing_data_file_is_told_before_the_model_is_loaded(tmp_path: Path) -> None:
    assert "tasks.jsonl" in refused("run", "no-such", "--suite", "circuits", "--tasks", str(tmp_path / "tasks.jsonl"))
    assert "cog.csv" in refused("run", "no-such", "--suite", "cognitive", "--cognitive-data", str(tmp_path / "cog.csv"))


def test_models_that_cannot_be_loaded(model: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "runs"), "--offline")
    assert "no-such-model" in refused("run", "no-such-model", *out)
    assert "folder" in refused("run", "./no-such-folder", *out)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "config.json" in refused("run", str(empty), *out)
    bare = Path(shutil.copytree(model, tmp_path / "bare"))
    (bare / "model.safetensors").rename(bare / "pytorch_model.bin")
    assert "safetensors" in refused("run", str(bare), *out)
    family = Path(shutil.copytree(model, tmp_path / "family"))
    config = json.loads((family / "config.json").read_text())
    (family / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
    assert "mamba" in refused("run", str(family), *out)
    (family / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    assert "quantis" in refused("run", str(family), *out)
    assert "cuda" in refused("run", str(model), "--device", "cuda", *out).lower() or _has_cuda()
    assert not (tmp_path / "runs").exists()


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def test_a_model_from_a_hub(model: Path, tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.add("made-up/tiny", {"main": model})
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
        words = ("run", "made-up/tiny", "--suite", TOY, "--out", str(tmp_path / "runs"), "--threads", "1")
        done = reportgen(*words, **env)
    assert done.returncode == 0, done.stderr
    assert Run.open(tmp_path / "runs" / "made-up--tiny").model.hub_id == "made-up/tiny"


def test_output_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    words = ("run", str(model), "--suite", TOY, "--out", str(tmp_path / "file"), "--threads", "1")
    done = reportgen(*words, XDG_CACHE_HOME=str(tmp_path / "empty"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()  # before the model is loaded, and before the self-test
    assert line.endswith("Not a directory. Choose another folder with --out DIR.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rend",), "No such command 'rend'. Did you mean 'render'? See 'reportgen --help'."),
        (("render", "x", "--figures"), "No such option: --figures. See 'reportgen render --help'."),
        (("mini", "train", "--lenght", "3"), "No such option: --lenght. See 'reportgen mini train --help'."),
    ],
)
def test_a_mistyped_word_names_the_help_of_its_verb(words: tuple[str, ...], said: str) -> None:
    assert refused(*words) == f"reportgen: {said}"


def test_the_drawn_prompt_has_options_of_its_own() -> None:
    said = refused("run", "mini", "--suite", "sparse", "--prompt", "One cat, two")
    assert "sparse.answer" in said


def test_a_newer_or_damaged_run_is_refused(tmp_path: Path) -> None:
    stored = write_run(tmp_path / "r", "relations")
    text = (stored.path / "run.json").read_text()
    (stored.path / "run.json").write_text(text.replace('"schema_version": 1', '"schema_version": 99'))
    assert "Upgrade" in refused("render", str(stored.path))
    (stored.path / "run.json").write_text(text[:100])
    assert "damaged" in refused("render", str(stored.path))
    assert "not a run folder" in refused("render", str(tmp_path))


def test_a_failed_suite_is_exit_1_and_the_report_says_why(model: Path, tmp_path: Path) -> None:
    done = reportgen(
        "run", str(model), "--suite", TOY, "--set", "toy.mood=broken", "--out", str(tmp_path), "--threads", "1"
    )
    assert done.returncode == 1, done.stderr
    page = (tmp_path / "tiny-gpt2" / "report" / "index.html").read_text()
    assert "own bug over two lines" in page


def test_streamed_weights_refuse_what_needs_a_forward_pass(model: Path, tmp_path: Path) -> None:
    words = ("run", str(model), "--suite", "attention", "--stream", "--out", str(tmp_path), "--threads", "1")
    done = reportgen(*words)
    assert done.returncode == 0, done.stderr
    record = Run.open(tmp_path / "tiny-gpt2").manifest.suites["attention"]
    assert record.status == "skipped"
    assert "streamed" in record.error


def test_dry_run_scores_nothing(model: Path, tmp_path: Path) -> None:
    done = reportgen("run", str(model), "--dry-run", "--json", "--out", str(tmp_path / "runs"))
    plan = json.loads(done.stdout)
    assert plan["model"]["n_heads"] == 4
    assert set(plan["suites"]) >= {"attention", "circuits", "relations"}
    assert all(suite["about_s"] > 0 for name, suite in plan["suites"].items() if name != "sparse")
    assert "family: 12 heads" in plan["suites"]["attention"]["reach"]
    assert any("pairs are single tokens" in words for words in plan["suites"]["relations"]["left_out"])
    assert not (tmp_path / "runs").exists()


def test_what_a_tokenizer_drops_is_said_before_the_scoring_and_at_the_end(tmp_path: Path) -> None:
    """Two lists of one's own: of one not a pair is left, the other loses one; a text that is not the tokenizer's."""
    words = [word.strip() for word in vocabulary() if word.startswith(" ") and word[1:].isalpha()]
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "own.json").write_text(json.dumps([*([word, word] for word in words[:40]), ["Zanzibar", "clove"]]))
    (lists / "few.json").write_text(json.dumps([[f"word{i}", "clove"] for i in range(12)]))
    (tmp_path / "text.txt").write_text("Mary went to the store with a xylophone. " * 400)
    given = ("--suite", "relations", "--suite", "attention", "--relations", str(lists))
    given = ("run", "mini", *given, "--text", str(tmp_path / "text.txt"), "--out", str(tmp_path / "runs"))
    gone = [f"word{i} -> clove" for i in range(4)]
    told = [
        "relations: relation few: 0 of 12 pairs are single tokens; at least 30 are required",
        "relations: 13 of 53 pairs, because a word is not a single token: few 12 ("
        + ", ".join(gone)
        + ", ...), own 1 (Zanzibar -> clove)",
    ]
    planned = reportgen(*given, "--dry-run").stdout
    assert all(f"  {line}" in planned.splitlines() for line in told)
    quick = ("--set", "relations.permutations=29", "--set", "relations.dynamic=off", "--no-selftest", "--threads", "1")
    done = reportgen(*given, *quick, "--set", "relations.matched=0", "--set", "relations.twins=0")
    assert done.returncode == 0, done.stderr
    before, _, after = done.stderr.partition("Left out:")
    assert all(f"left out of {line}" in before and f"  {line}\n" in after for line in told)
    assert "unknown: not used" in before
    assert after.count("relation few") == 1
    assert "switched off" not in after
    run = Run.open(tmp_path / "runs" / "mini")
    assert [line for line in run.left_out() if line.startswith("relations")] == told


def test_lists() -> None:
    assert "relations" in reportgen("suites").stdout
    assert "relations.tau" in reportgen("suites", "relations").stdout
    assert "L9H9" in reportgen("published", "gpt2").stdout
    assert "Did you mean" in refused("published", "gpt3")
    assert "relations" in refused("suites", "relation")


def test_mini_train_says_what_is_wrong(tmp_path: Path) -> None:
    assert "--save-steps" in refused("mini", "train", "--save-steps", "a,b", "--out", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()

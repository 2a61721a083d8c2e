"""A notebook, executed and opened without a network: figures are there, and a run shows what it found."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import Browser

from reportgen.imported.store import TableSource, import_table

CELLS = (
    "import numpy as np, reportgen",
    "run = reportgen.load_run({run!r})\nrun",
    "reportgen.figure(run, 'imported-induction')",
    "reportgen.heatmap(np.eye(3), overlays={{'Name movers': ['L1H2']}}, label='My score')",
    "reportgen.heatmap(np.eye(3), label='My score').properties(title='Another title')",
    "few = {{'attention.permutations': 99, 'attention.sequences': 8}}",
    "scored = reportgen.run('mini', suites='attention', out='r', selftest=False, report=False, threads=1, set=few)",
    "scored['attention/induction'].top(2)",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebook's exported HTML."""
    folder = tmp_path_factory.mktemp("notebook")
    table = folder / "t.csv"
    table.write_text("layer,head,induction\n0,0,0.1\n0,1,0.2\n1,0,0.9\n1,1,0.4\n")
    run = import_table(table, TableSource("<b>m</b>", 2, 2), folder / "runs")
    cells = [nbformat.v4.new_code_cell(cell.format(run=str(run.path))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    exporter = HTMLExporter(template_name="classic", embed_images=True)
    exporter.require_js_url = exporter.mathjax_url = exporter.jquery_url = ""
    body, _ = exporter.from_notebook_node(notebook)
    (folder / "page.html").write_text(body, "utf-8")
    return folder / "page.html"


@pytest.mark.browser
def test_a_notebook_without_a_network_shows_figures_and_the_run(page: Path, chromium: Browser) -> None:
    context = chromium.new_context(offline=True)
    opened = context.new_page()
    opened.goto(page.as_uri())
    words = opened.locator("body").inner_text()
    assert "Error" not in words
    assert "<b>m</b>" in words  # escaped
    assert "L1H0" in words
    drawn = opened.locator("svg, img").evaluate_all(
        "all => all.filter(e => e.getBoundingClientRect().width > 100 && (e.tagName != 'IMG' || e.naturalWidth > 100))"
        ".map(e => e.tagName)"
    )
    assert len(drawn) == 3
    assert opened.locator("table tr").count() == 2 + 3  # the run's first screen; the two highest heads
    assert opened.locator("progress").count() == 1  # one line, rewritten
    assert "Attention patterns: done in" in words
    context.close()

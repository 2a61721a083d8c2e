"""Every package folder is installed, templates and data included, from a wheel as from a checkout."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_package_is_listed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "reportgen").glob("**/__init__.py")}
    assert listed == found | {"reportgen.templates"}


def test_editable_install_finds_templates() -> None:
    import reportgen.templates

    assert reportgen.templates.__file__ is not None
    assert Path(reportgen.templates.__file__).parent == ROOT / "templates"


def test_wheel_holds_templates_data_and_no_second_copy(tmp_path: Path) -> None:
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    clone = tmp_path / "src"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=clone, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "reportgen/templates/__init__.py",
        "reportgen/templates/report.typ",
        "reportgen/suites/pair_lists/name_copying.json",
        "reportgen/suites/pair_lists/relations.toml",
        "reportgen/suites/icl/data/item_to_next.json",
        "reportgen/published.toml",
        "reportgen/targets/wang-ioi.toml",
        "reportgen/verify/tolerances.toml",
        "reportgen/mini/checkpoint/config.json",
        "reportgen/mini/checkpoint/model.safetensors",
        "reportgen/py.typed",
    ):
        assert wanted in names, wanted
    assert not [n for n in names if n.startswith(("templates/", "tests/"))]

"""Valid folders and files that cases damage. Folders are made once a session and copied."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reportgen.imported.store import TableSource, import_table
from reportgen.sweep.stored import SCHEMA_VERSION, MemberRecord, SweepRecord, now, save

LAYERS, HEADS = 2, 3
TABLE = "layer,head,score\n" + "".join(f"{i},{j},{(i + j) / 4}\n" for i in range(LAYERS) for j in range(HEADS))
OVERLAY = '[[entry]]\nclass = "Mine"\nheads = ["L1H2", [0, 1]]\n'
IMPORT = ("import", "{here}/t.csv", "--model-name", "m", "--layers", "2", "--heads", "3", "--out", "{here}/out")
DRY = ("run", "mini", "--dry-run", "--out", "{here}/out")


def make_run(folder: Path) -> None:
    """A stored run of imported scores, 2 x 3 heads, with the user's overlay: figures are drawn in a second."""
    table, overlay = folder.parent / f"{folder.name}.csv", folder.parent / f"{folder.name}.toml"
    table.write_text(TABLE)
    overlay.write_text(OVERLAY)
    import_table(table, TableSource("m", LAYERS, HEADS), folder.parent, folder.name, (overlay,))
    table.unlink()
    overlay.unlink()


def make_kept(folder: Path) -> None:
    """A run of a user's suite `mine` whose file is not at hand, with the figure that it drew."""
    from tests.fixtures import write_kept

    write_kept(folder)


def make_sweep(folder: Path) -> None:
    """A stored sweep of two such runs."""
    folder.mkdir()
    members = []
    for step in (1, 2):
        slug = f"m@step-{step}"
        make_run(folder / slug)
        members.append(MemberRecord(slug, "m", "", "m", f"step-{step}", step, "done"))
    record = SweepRecord(SCHEMA_VERSION, folder.name, now(), now(), ["reportgen"], "local", ["imported"], [])
    save(folder, record, members, 1.0)


def make_model(folder: Path) -> None:
    """A random GPT-2 of 2 layers and 2 heads as a Hugging Face folder."""
    from tests.tiny import tiny_folder

    tiny_folder("gpt2", folder, words=["a", "b", "cat"], n_layer=2, n_head=2, n_embd=8, n_inner=8, n_positions=16)


def make_gguf(folder: Path) -> None:
    """A random Llama of 3 layers as folder/net.gguf."""
    from tests.gguf_files import tiny_gguf

    folder.mkdir()
    tiny_gguf("llama", folder / "net.gguf", kind="Q8_0")


MAKERS: dict[str, Callable[[Path], None]] = {
    "run": make_run,
    "other": make_run,
    "kept": make_kept,
    "sweep": make_sweep,
    "model": make_model,
    "gguf": make_gguf,
}


def copy(base: str, store: Path, here: Path) -> None:
    """A copy of the base under its own name in `here`; the original is made in `store` when it is first asked for."""
    if not (store / base).exists():
        MAKERS[base](store / base)
    shutil.copytree(store / base, here / base, symlinks=True)


Edit = Callable[[Path], None]


def edit(file: str, **fields: Any) -> Edit:
    """Put these fields into a JSON object; `a__b` is field b of field a, `...` takes a field out."""

    def damage(here: Path) -> None:
        path = here / file
        value = json.loads(path.read_text())
        for name, new in fields.items():
            *way, last = name.split("__")
            inner = value
            for part in way:
                inner = inner[int(part) if isinstance(inner, list) else part]
            if new is ...:
                del inner[last]
            else:
                inner[last] = new
        path.write_text(json.dumps(value))

    return damage


def cut(file: str, share: float) -> Edit:
    """Cut a file short."""

    def damage(here: Path) -> None:
        raw = (here / file).read_bytes()
        (here / file).write_bytes(raw[: int(len(raw) * share)])

    return damage


def put(file: str, content: bytes | str) -> Edit:
    """Other content in a file's place."""
    return lambda here: (here / file).write_bytes(content.encode() if isinstance(content, str) else content)


def link(file: str, target: str) -> Edit:
    """A link in the place of a file or folder; what was there goes to the target where that is `{here}/outside`."""

    def damage(here: Path) -> None:
        path, place = here / file, Path(target.replace("{here}", str(here)))
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.symlink_to(place)

    return damage


def folder(file: str) -> Edit:
    """A folder in a file's place."""

    def damage(here: Path) -> None:
        (here / file).unlink(missing_ok=True)
        (here / file).mkdir()

    return damage


def signed(run: str, *edits: Edit) -> Edit:
    """The edits, and then the digests in run.json as the files now are: a forger can do that, too."""

    def damage(here: Path) -> None:
        for change in edits:
            change(here)
        manifest = here / run / "run.json"
        value = json.loads(manifest.read_text())
        for record in value["suites"].values():
            for name in record["sha256"]:
                record["sha256"][name] = hashlib.sha256((here / run / "scores" / name).read_bytes()).hexdigest()
        manifest.write_text(json.dumps(value))

    return damage

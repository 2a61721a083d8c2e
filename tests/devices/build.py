"""Compiles pretend.cpp against the torch that is installed: `python -m tests.devices.build` prints where it lies.

One shared library serves both devices. It is kept under build/ by torch's version and the source, and made again when
either changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths

SOURCE = Path(__file__).with_name("pretend.cpp")
FOLDER = Path(__file__).parents[2] / "build" / "devices"


def compiler() -> str | None:
    """The C++ compiler: $CXX, else g++ or clang++; None where there is none."""
    return next(
        (found for name in (os.environ.get("CXX", ""), "g++", "clang++") if (found := shutil.which(name))), None
    )


def compiled() -> Path:
    """The compiled library; made now where it is not there yet (about a minute). RuntimeError without a compiler."""
    digest = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:12]
    path = FOLDER / f"pretend-{digest}.so"
    if path.is_file():
        return path
    program = compiler()
    if program is None:
        raise RuntimeError("no C++ compiler: install g++")
    FOLDER.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    libraries = Path(torch.__file__).parent / "lib"
    command = [program, "-std=c++20", "-O1", "-fPIC", "-shared", str(SOURCE), "-o", str(part)]
    command += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"]
    command += [f"-isystem{folder}" for folder in include_paths()]
    command += [f"-L{libraries}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{libraries}"]
    subprocess.run(command, check=True)
    part.replace(path)
    return path


if __name__ == "__main__":
    print(compiled())

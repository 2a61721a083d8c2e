"""PNG files as arrays, and how alike two pictures are."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.float64]  # [row column 3] 0..1


def decode(png: bytes) -> Picture:
    """A picture on white."""
    pixels = np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGBA")) / 255
    return pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]


def encode(picture: Picture) -> bytes:
    """`picture` as an 8-bit RGB PNG."""
    out = io.BytesIO()
    Image.fromarray(np.rint(255 * picture.clip(0, 1)).astype(np.uint8)).save(out, "PNG", optimize=True)
    return out.getvalue()


def coarse(picture: Picture, across: int = 64) -> Picture:
    """The picture in blocks, `across` of them to a row."""
    side = max(1, picture.shape[1] // across)
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    cut = picture[: rows * side, : columns * side]
    return cut.reshape(rows, side, columns, side, 3).mean(axis=(1, 3))


def similarity(one: Picture, other: Picture) -> float:
    """Structural similarity of two pictures in blocks: 1 for the same one, 0 where their sizes differ by a tenth."""
    a, b = coarse(one), coarse(other)
    rows = min(len(a), len(b))
    if abs(len(a) - len(b)) > 0.1 * rows or a.shape[1] != b.shape[1]:
        return 0.0
    a, b = a[:rows], b[:rows]
    found = [
        _structure(a[y : y + 8, x : x + 8], b[y : y + 8, x : x + 8]) for y in range(0, rows, 4) for x in range(0, 64, 4)
    ]
    return float(np.mean(found))


def _structure(a: Picture, b: Picture) -> float:
    """SSIM of one window (Wang et al. 2004) with the constants for values 0..1."""
    ma, mb = a.mean(), b.mean()
    va, vb, both = a.var(), b.var(), ((a - ma) * (b - mb)).mean()
    return float((2 * ma * mb + 1e-4) * (2 * both + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))

"""PNG files as arrays, and how alike two pictures are."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.float64]  # [row column 3] 0..1


def decode(png: bytes) -> Picture:
    """An 8-bit RGB or RGBA picture on white."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", png[16:29])
    assert png.startswith(b"\x89PNG")
    assert (depth, interlaced) == (8, 0)
    size = {2: 3, 6: 4}[colour]
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += length + 12
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * size)
    rows = np.zeros((height, width * size), np.uint8)
    above = np.zeros(width * size, np.uint8)
    for i, line in enumerate(lines):
        above = rows[i] = _unfiltered(int(line[0]), line[1:], above, size)
    pixels = rows.reshape(height, width, size) / 255
    return pixels if size == 3 else pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]


def _unfiltered(
    kind: int, line: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], size: int
) -> npt.NDArray[np.uint8]:
    if kind in (0, 2):
        return line + above if kind else line
    out = np.zeros_like(line)
    for i in range(0, len(line), size):
        left = out[i - size : i].astype(int) if i else np.zeros(size, int)
        up = above[i : i + size].astype(int)
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + up) // 2
        else:
            corner = above[i - size : i].astype(int) if i else np.zeros(size, int)
            far = [abs(left + up - corner - x) for x in (left, up, corner)]
            guess = np.where((far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], up, corner))
        out[i : i + size] = (line[i : i + size] + guess) % 256
    return out


def encode(picture: Picture) -> bytes:
    """`picture` as an 8-bit RGB PNG."""
    rows = np.rint(255 * picture.clip(0, 1)).astype(np.uint8)
    lines = np.concatenate([np.zeros((len(rows), 1), np.uint8), rows.reshape(len(rows), -1)], axis=1)
    header = struct.pack(">IIBBBBB", rows.shape[1], len(rows), 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


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

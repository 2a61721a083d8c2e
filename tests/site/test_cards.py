from __future__ import annotations

import struct
import zlib
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from reportgen.report.tiles import GREY
from reportgen.scores import HeadScores
from reportgen.site.cards import SHARES, SIGNED, chosen, pixels

VALUES = np.array([[0.0, 1.0, np.nan], [0.5, 0.25, 0.0]], dtype=np.float32)  # [layer head]


def decoded(png: bytes) -> npt.NDArray[np.uint8]:
    """[row column rgb] of an 8-bit RGB PNG without filters, every checksum verified."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(png):
        (size,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        body = png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + body)
        parts[kind] = body
        at += 12 + size
    wide, high = struct.unpack(">II", parts[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(high, 1 + 3 * wide)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(high, wide, 3)


def scores(low: float) -> HeadScores:
    return HeadScores("a/b/c", "x", VALUES, 1, no_null="none", range=(low, 1.0), reasons={"*": "why"})


def hex_of(pixel: npt.NDArray[np.uint8]) -> str:
    return "#" + "".join(f"{int(c):02x}" for c in pixel)


def test_a_pixel_a_head_in_the_colours_of_the_scale() -> None:
    image = decoded(pixels(scores(0.0), SHARES, down=False))
    assert image.shape == (3, 2, 3)  # heads down, layers across
    assert [hex_of(image[0, 0]), hex_of(image[1, 0]), hex_of(image[2, 0])] == ["#440154", "#fde725", GREY]
    assert decoded(pixels(scores(0.0), SHARES, down=True)).shape == (2, 3, 3)
    signed = decoded(pixels(scores(-1.0), SIGNED, down=False))
    assert hex_of(signed[1, 0]) == "#8d1228"


def tile(key: str) -> Any:
    return SimpleNamespace(key=key, suite=key.split("/")[0])


def test_maps_are_chosen_in_turn_from_every_suite_and_drawn_in_the_reports_order() -> None:
    tiles = [tile(f"a/{i}") for i in range(20)] + [tile("b/0"), tile("b/1")]
    counts = Counter({"a/7": 3})
    found = [t.key for t in chosen(tiles, counts)]
    assert len(found) == 8
    assert {"b/0", "b/1", "a/7"} <= set(found)
    assert found == sorted(found, key=[t.key for t in tiles].index)

"""Random damage to a valid file: bits, slices, words of its format, and (in JSON) values and keys."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

# Words that formats give a meaning to, put where they do not belong.
WORDS = (
    b"NaN", b"-Infinity", b"1e999", b"nan", b"inf", b"null", b"true", b"{}", b"[]", b'""', b"''", b"-1", b"0", b"1.5",
    b"9" * 40, b"\\u0000", b"\x00", b"\xff\xfe", b"\r", b"\n", b"\xef\xbb\xbf", b"[" * 300, b"{\"a\":" * 300,
    b"../../x", b"/etc/passwd", b"<script>", b"\x1b[31m", b",", b'"', b"=", b"'''", b"1979-05-27", b"a.b.c",
)  # fmt: skip
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "x", "../../x", "\x00", "\x1b[2J", "<b>", "L1H2", "x" * 300]), st.just([]), st.just({}),
    st.lists(st.integers(-2, 9), max_size=3), st.just([["a", "b"]]),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """`valid` after one to four changes to its bytes."""
    raw = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        size = len(raw)
        a = draw(st.integers(0, size))
        b = min(size, a + draw(st.integers(0, 40)))
        match draw(st.sampled_from(["flip", "cut", "delete", "insert", "replace", "repeat", "random"])):
            case "flip" if a < size:
                raw[a] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del raw[a:]
            case "delete":
                del raw[a:b]
            case "insert":
                raw[a:a] = draw(st.sampled_from(WORDS))
            case "replace":
                raw[a:b] = draw(st.sampled_from(WORDS))
            case "repeat":
                raw[a:a] = raw[a:b]
            case "random":
                raw[a:b] = draw(st.binary(max_size=20))
            case _:
                continue
    return bytes(raw)


@st.composite
def altered(draw: st.DrawFn, valid: bytes) -> bytes:
    """A JSON text with one to three of its values replaced, taken out, or put under other keys."""
    value = json.loads(valid)
    for _ in range(draw(st.integers(1, 3))):
        inner: Any = value
        while isinstance(inner, dict | list) and inner:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = draw(st.sampled_from(keys))
            if isinstance(inner[key], dict | list) and inner[key] and draw(st.booleans()):
                inner = inner[key]
                continue
            match draw(st.sampled_from(["replace", "replace", "delete", "rename"])):
                case "delete":
                    del inner[key]
                case "rename" if isinstance(inner, dict):
                    inner[draw(st.sampled_from([*map(str, keys), "x", "../x"]))] = inner.pop(key)
                case _:
                    inner[key] = copy.deepcopy(draw(ODD))
            break
    return json.dumps(value).encode()

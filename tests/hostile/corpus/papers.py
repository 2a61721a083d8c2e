"""A .tex file for `reportgen check`."""

from __future__ import annotations

from tests.hostile.case import Case, Content, Link, odd_files


def _case(name: str, content: Content, says: str, **more: Content) -> Case:
    return Case(f"paper-{name}", ("check", "{here}/p.tex"), says, {"p.tex": content, **more})


NONE = r"p\.tex .*numbers\.tex"
CASES = (
    *(_case(name, content, says) for name, content, says in odd_files("p.tex")),
    Case("paper-long-name", ("check", "p" * 5_000), "File name too long"),
    _case("empty", "", NONE),
    _case("binary", bytes(range(256)), NONE),
    _case("input-itself", "\\input{p.tex}", NONE),
    _case("input-root", "\\input{/}", NONE),
    _case("input-dots", "\\input{..}\\input{.}\\input{ }", NONE),
    _case("input-nul", "\\input{a\0b}", NONE),
    _case("input-long", f"\\input{{{'i' * 5_000}}}", NONE),
    _case("input-password", "\\input{/etc/passwd}", NONE),
    _case("input-many", "".join(f"\\input{{f{i}}}" for i in range(5_000)), NONE),
    _case("numbers-nowhere", "\\input{n.tex}", NONE, **{"n.tex": "\\rgdefine{m/hash}{x}%"}),
    Case("paper-input-loop", ("check", "{here}/p.tex"), NONE, {"p.tex": "\\input{n.tex}", "n.tex": Link("n.tex")}),
    _case("input-endless", "\\input{n.tex}", NONE, **{"n.tex": Link("/dev/zero")}),
    Case("paper-no-run", ("check", "{here}/p.tex", "--run", "{here}/r"), "not a run folder", {"p.tex": "x"}),
)  # fmt: skip

"""docs/smollm2.md is what the stored run says, and its pictures are what the tool draws now."""

from __future__ import annotations

from tests.docs import smollm2
from tests.docs.test_tutorial import DRAWN


def test_the_page_and_its_pictures_are_of_the_stored_run() -> None:
    for path, text in smollm2.written().items():
        stored = path.read_text("utf-8")
        if path.suffix == ".md":
            assert stored == text
        else:  # colours and words in order; where they stand may differ by a version of the renderer
            assert DRAWN.findall(stored) == DRAWN.findall(text)
            assert len(DRAWN.findall(stored)) > 20


def test_weights_and_prompts_name_the_same_heads() -> None:
    """What the page says in words, beside its numbers."""
    n = smollm2.Numbers(smollm2.Run.open(smollm2.RUN))
    assert n.place(smollm2.COPYING, "L23H2") == 1
    assert n.place(smollm2.COPYING, "L23H0") == 2
    assert n.place(smollm2.CAPITAL, "L23H4") == 1
    assert n.place(smollm2.SUPPRESSION, "L23H3") == 1
    assert n.place("circuits/direct/ioi", "L23H3") == 1
    movers = n.heads("circuits/ioi/name_movers")
    assert "L23H0" in movers
    assert "L23H2" in movers
    assert "L23H4" in n.heads("circuits/capitals/movers")
    foil, answer = (float(n.scores[f"circuits/{m}/ioi"].values[23, 3]) for m in ("dla_foil", "dla_answer"))
    assert abs(foil) > 3 * abs(answer)

"""GPT-2 checkpoints whose heads are written by hand, so that every score has a known answer."""

from __future__ import annotations

from pathlib import Path

from reportgen.selftest.models import POSITIONS, Blank
from reportgen.suites.circuits.tasks.task import read_words


def ioi_folder(folder: Path, names: int = 12) -> Path:
    """Four layers that do IOI.

    L0H0 finds the earlier copy of a name; L1H0 carries the subject to the last position; L2H0 is a name mover, L2H1 a
    negative one; L3H0 does what L2H0 does, but not where the name is written already: a backup.
    """
    data = read_words("ioi")
    texts = " ".join(data["templates"]).replace(".", " ").replace(",", " ").split()
    words = [word for word in dict.fromkeys(texts) if word.isalpha()]
    chosen = data["names"][:names]
    model = Blank([*words, *chosen, "store", "school", "ring", "ball"], n_layer=4, n_head=4, d_head=16, n_inner=16)
    name = {word: 2 + i for i, word in enumerate(chosen)}
    inner = {word: i for i, word in enumerate(chosen)}
    is_name, to, position, seen, subject = 14, 15, 16, 17, 18  # subject: one dimension per name from 18 on
    for word in chosen:
        model.embed(word, name[word])
        model.embed(word, is_name)
    model.embed("to", to, 0.2)
    for at in range(POSITIONS):
        model.position(at, position, at / POSITIONS)
    model.copy_in_mlp([name[word] for word in chosen])  # from here on a name stands for 2
    same = [(name[w], inner[w], 1.0) for w in chosen]
    model.head(  # seen = -position of the earliest copy, so that position + seen > 0 marks the second one
        0, 0, q=[*((r, i, 240.0) for r, i, _ in same), (is_name, 12, 400.0)], k=[*same, (position, 12, -1.0)],
        v=[(position, 0, 1.0)], o=[(seen, 0, -1.0)],
    )  # fmt: skip
    model.head(
        1, 0, q=[(to, 0, 20.0)], k=[(is_name, 0, 200.0), (position, 0, 400.0), (seen, 0, 400.0)],
        v=same, o=[(subject + inner[w], inner[w], 0.5) for w in chosen],
    )  # fmt: skip
    ask = [(to, 12, 600.0), *((subject + inner[w], inner[w], -90.0) for w in chosen)]
    written = [(name[w], inner[w], -50.0) for w in chosen]
    for layer, head, amount, query in ((2, 0, 2.0, ask), (2, 1, -0.8, ask), (3, 0, 2.0, [*ask, *written])):
        out = [(r, i, amount) for r, i, _ in same]
        model.head(layer, head, q=query, k=[*same, (is_name, 12, 1.0)], v=same, o=out)
    return model.save(folder)


def induction_folder(folder: Path, words: int = 24) -> Path:
    """Two layers: L0H0 reads the previous token, L0H1 always stands 3 back, L1H0 is an induction head, L1H1 finds the
    earlier copy of its own token, L1H2 attends as L1H0 does but copies nothing."""
    vocabulary = [f"word{chr(97 + i)}" for i in range(words)]
    model = Blank(vocabulary, n_layer=2, n_head=3, d_head=POSITIONS, n_inner=words)
    token = {word: 2 + i for i, word in enumerate(vocabulary)}
    place, before = 2 + words, 2 + words + POSITIONS  # one dimension per position; per word that came before
    for word, dimension in token.items():
        model.embed(word, dimension)
    for at in range(POSITIONS):
        model.position(at, place + at, 1.0)
    model.copy_in_mlp(list(token.values()))
    for head, back in ((0, 1), (1, 3)):
        query = [(place + at, at - back, 400.0) for at in range(back, POSITIONS)]
        moved = [(before + i, i, 1.0) for i in range(words)] if head == 0 else []
        model.head(
            0, head, q=query, k=[(place + at, at, 1.0) for at in range(POSITIONS)],
            v=[(dimension, i, 1.0) for i, dimension in enumerate(token.values())], o=moved,
        )  # fmt: skip
    own = [(dimension, i, 1.0) for i, dimension in enumerate(token.values())]
    far = [(place + at, words, -at / POSITIONS) for at in range(POSITIONS)]  # of several copies, the earliest
    always = [(dimension, words, 400.0) for dimension in token.values()]
    for head, key, writes in ((0, before, own), (1, 2, []), (2, before, [])):
        keys = [(key + i, i, 1.0) for i in range(words)]
        query = [(dimension, i, 400.0) for i, dimension in enumerate(token.values())]
        model.head(1, head, q=[*query, *always], k=[*keys, *far], v=own, o=writes)
    return model.save(folder)

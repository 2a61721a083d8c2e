"""Prompts with known answers, to see what the bundled model has learned; all prompts of a `Probe` have one length."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.mini import phrasings, words
from reportgen.mini.documents import UNSEEN_NAMES, name_pairs, names, pick, pool, scene
from reportgen.mini.sequences import two_digits, war
from reportgen.mini.vocab import Ids, compiled, distinct, fill, ids_of, relation, vocabulary


@dataclass(frozen=True)
class Probe:
    """Prompts of one form: ids [prompt, position]; the answer [prompt] is the token after the last position.

    `foil` [prompt] is a tempting wrong answer or None; `positions` names the columns of the tokens that matter.
    """

    name: str
    ids: Ids
    answer: Ids
    foil: Ids | None
    positions: dict[str, int]

    @property
    def text(self) -> list[str]:
        """The prompts as text; the tokenizer gives `ids` again."""
        return ["".join(vocabulary()[i] for i in row) for row in self.ids]

    def with_end_of_text(self) -> "Probe":
        """The same with a leading <|endoftext|>."""
        ids = np.concatenate([np.zeros((len(self.ids), 1), dtype=np.int16), self.ids], axis=1)
        moved = {role: column + 1 for role, column in self.positions.items()}
        return Probe(self.name, ids, self.answer, self.foil, moved)


def _cut(template: str, slot: str) -> str:
    """The template up to the last place of a slot."""
    return template[: template.rindex("{" + slot + "}")]


def ioi_prompts(
    seed: int, n: int, template: int = 0, *, order: str = "ABBA", two_pair: bool = False, heldout: bool = False,
    unseen_names: bool = False,
) -> Probe:  # fmt: skip
    """IOI prompts of one template up to the indirect object: answer IO, foil S, positions io, s1, s2, end.

    `order` ABBA: the subject is named second in the first clause; BABA: first. With `heldout` name pairs that training
    never shows in this template; `unseen_names` takes names that stand in no IOI document. The last single-pair
    template (index -1) is in no training document.

    Raises:
        ValueError: `order` is neither ABBA nor BABA.
    """
    if order not in ("ABBA", "BABA"):
        raise ValueError("order is ABBA or BABA")
    rng = np.random.default_rng([seed, 11])
    texts = phrasings.TWO_PAIR if two_pair else phrasings.IOI
    template %= len(texts)
    pair = name_pairs(rng, n, template, heldout=heldout)
    if unseen_names:
        pair = names()[-UNSEEN_NAMES:][distinct(rng, n, 2, UNSEEN_NAMES)]
    s, io = (1, 0) if order == "ABBA" else (0, 1)
    slots = {"a": pair[:, 0], "b": pair[:, 1], "s": pair[:, s], "i": pair[:, io]}
    slots |= {"p": pick(rng, n, pool("PLACES")), "q": pick(rng, n, pool("PLACES")), "o": pick(rng, n, pool("GIFTS"))}
    if two_pair:
        other = _others(rng, pair)
        slots |= {"c": other[:, 0], "d": other[:, 1]}
    text = _cut(texts[template], "i")
    row = compiled(text)
    where = {"io": row.index("ab"[io]), "s1": row.index("ab"[s]), "s2": row.index("s"), "end": len(row) - 1}
    return Probe(f"ioi_{template}_{order}", fill(text, n, slots), slots["i"], slots["s"], where)


def _others(rng: np.random.Generator, pair: Ids) -> Ids:
    """Two more names a row, different from the given two."""
    known = names()[:-UNSEEN_NAMES]
    out = known[distinct(rng, len(pair), 2, len(known))]
    while True:
        clash = (out[:, :, None] == pair[:, None, :]).any(axis=(1, 2))
        if not clash.any():
            return out
        out[clash] = known[distinct(rng, int(clash.sum()), 2, len(known))]


def induction_prompts(seed: int, n: int, length: int = 30) -> Probe:
    """Random tokens twice over: ids [prompt, 2 length - 1]; the answer is the last token of the first copy.

    Position t of the second copy (t >= length) predicts ids[:, t - length + 1]; `second` is its first column.
    """
    rng = np.random.default_rng([seed, 12])
    half = (2 + distinct(rng, n, length, len(vocabulary()) - 2)).astype(np.int16)
    ids = np.concatenate([half, half[:, :-1]], axis=1)
    return Probe("induction", ids, half[:, -1], None, {"second": length, "source": length - 1, "end": 2 * length - 2})


def fact_prompts(name: str, *, heldout: bool = False) -> list[Probe]:
    """One probe per phrasing of a relation (one of the twenty or a sibling), over all pairs or the held-out ones."""
    table = relation(name)
    probes = []
    for form, text in enumerate(table.phrasings):
        rows = table.usable(form, heldout=True) if heldout else np.arange(len(table.x))
        source, target = ("bx", "by") if "{bx}" in text else ("x", "y")
        if source == "bx":
            rows = rows[(table.bare_x[rows] >= 0) & (table.bare_y[rows] >= 0)]
        if not len(rows):
            continue
        cut, slots = _cut(text, target), table.slots(rows)
        where = {"source": compiled(cut).index(source), "end": len(compiled(cut)) - 1}
        probes.append(Probe(f"{name}_{form}", fill(cut, len(rows), slots), slots[target], None, where))
    return probes


def colored_objects_prompts(
    seed: int, n: int, template: int = 0, *, heldout: bool = False, example: bool = True
) -> Probe:
    """Coloured objects after one worked example: answer the colour asked for, foil another object's colour."""
    rng = np.random.default_rng([seed, 13])
    text = phrasings.COLORED[template] + phrasings.COLOR_QUESTION[0]
    slots = scene(rng, n, 3, heldout=heldout)
    query = fill(_cut(text, "k"), n, slots)
    foil = np.where(slots["c"] == slots["k"], slots["d"], slots["c"])
    parts = [query]
    if example:
        shown = fill(text, n, scene(rng, n, 3, heldout=False))
        parts = [shown, np.full((n, 1), compiled("\n")[0], dtype=np.int16), query]
    offset = sum(part.shape[1] for part in parts[:-1])
    row = compiled(_cut(text, "k"))
    where = {f"color{i}": offset + row.index("cde"[i]) for i in range(3)}
    where |= {f"object{i}": offset + row.index("opq"[i]) for i in range(3)}
    where |= {"asked": offset + row.index("t"), "end": offset + len(row) - 1}
    return Probe(f"colored_{template}", np.concatenate(parts, axis=1), slots["k"], foil, where)


def greater_than_prompts(seed: int, n: int, template: int = 0, *, heldout: bool = False) -> Probe:
    """'The war lasted from 1732 to 17': the answer column holds the START year's two digits (later ones are right)."""
    rng = np.random.default_rng([seed, 14])
    slots, _ = war(rng, n, template, heldout=heldout)
    text = _cut(phrasings.GREATER_THAN[template], "z")
    row = compiled(text)
    return Probe(
        f"greater_than_{template}",
        fill(text, n, slots),
        slots["y"],
        None,
        {"year": row.index("y"), "end": len(row) - 1},
    )


def later_years(start: Ids) -> tuple[npt.NDArray[np.bool_], Ids]:
    """For each start [prompt] which of the hundred two-digit tokens are later [prompt, 100], and those tokens' ids."""
    digits = two_digits()
    value = np.searchsorted(digits, start)
    return np.arange(100)[None, :] > value[:, None], digits


def successor_prompts(kind: str = "DAYS", *, backwards: bool = False, length: int = 4) -> Probe:
    """Every run of `length` neighbours of DAYS, MONTHS, NUMBERS, LETTERS, YEARS or ORDINALS, to be continued."""
    values = ids_of(getattr(words, kind))
    order = values[::-1] if backwards else values
    size = len(order) if kind in ("DAYS", "MONTHS") else len(order) - length
    rows = (np.arange(size)[:, None] + np.arange(length + 1)) % len(order)
    text = ",".join(f"{{x{i}}}" for i in range(length)) + ","
    ids = fill(text, size, {f"x{i}": order[rows[:, i]] for i in range(length)})
    where = {"last": 2 * length - 2, "end": 2 * length - 1}
    return Probe(f"successor_{kind}", ids, order[rows[:, length]], None, where)

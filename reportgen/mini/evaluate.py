"""What a trained mini model can do and which heads do it, on prompts that training never shows.

Prompts with known answers come as `Probe`s, all prompts of one in one length. Every prompt has a leading <|endoftext|>.
An answer is right when its token has the largest logit of all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.mini import network, phrasings, words
from reportgen.mini.corpus import UNSEEN_NAMES, name_pairs, scene, two_digits, war
from reportgen.mini.network import Network
from reportgen.mini.vocab import Ids, compiled, distinct, fill, ids_of, names, pick, pool, relation, vocabulary


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

    def with_end_of_text(self) -> Probe:
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


Properties = dict[str, Any]
SEED = 7  # of the prompts
SUCCESSIONS = ("DAYS", "MONTHS", "NUMBERS", "LETTERS", "YEARS", "ORDINALS")
# A true name mover attends from the end to the indirect object and copies what it attends to (Wang et al. 2022,
# section 3.1; copy score: the name among the five largest logits). The two bounds are ours.
MOVER_ATTENTION = 0.6
MOVER_COPYING = 0.9
TOP = 5


def measure(source: Path | Network, prompts: int = 50) -> Properties:
    """Properties of an exported folder or a network in training; `prompts` a template where prompts are drawn.

    Shares in [0, 1]: ioi_accuracy (held-out name pairs), ioi_two_pair_accuracy, ioi_unseen_template_accuracy,
    ioi_unseen_names_accuracy, induction_accuracy, facts_accuracy, colored_objects_accuracy, greater_than_accuracy,
    successor_accuracy; facts (by relation, None without held-out pairs) and successors (by list). `heads` holds
    [layer head] lists: attention of the last position to io, s1, s2; of a repeated token to the one after its first
    copy (induction), of every token to the previous one; OV copying of names in the top 1 and top 5 (None in layer 0,
    which has no MLP below).
    true_name_movers: [layer, head] pairs. ModelError: a folder that training did not write.
    """
    model = network.load(source) if isinstance(source, Path) else source
    with torch.inference_mode(), _evaluating(model):
        facts = {name: _facts(model, name) for name in phrasings.FACTS}
        successors = {
            f"{kind}{' backwards' * back}": _mean(accuracy(model, successor_prompts(kind, backwards=back)))
            for kind in SUCCESSIONS
            for back in (False, True)
        }
        seen = range(len(phrasings.IOI) - 1)
        properties: Properties = {
            "ioi_accuracy": _share(model, _ioi(prompts, seen, heldout=True)),
            "ioi_two_pair_accuracy": _share(model, _ioi(prompts, range(len(phrasings.TWO_PAIR)), two_pair=True)),
            "ioi_unseen_template_accuracy": _share(model, _ioi(prompts, [-1])),
            "ioi_unseen_names_accuracy": _share(model, _ioi(prompts, seen, unseen_names=True)),
            "induction_accuracy": _induction(model, prompts),
            "facts_accuracy": _mean([share for share in facts.values() if share is not None]),
            "colored_objects_accuracy": _share(model, _colored(prompts)),
            "greater_than_accuracy": _greater_than(model, prompts),
            "successor_accuracy": _mean(list(successors.values())),
            "facts": facts,
            "successors": successors,
        }
        heads: dict[str, Any] = dict(_attention(model, prompts)) | dict(copying(model))
    properties["true_name_movers"] = [
        [layer, head]
        for layer, (looks, copies) in enumerate(zip(heads["attention_io"], heads["copying_top5"], strict=True))
        for head, (look, copy) in enumerate(zip(looks, copies, strict=True))
        if copy is not None and look > MOVER_ATTENTION and copy > MOVER_COPYING
    ]
    return properties | {"heads": heads}


@contextmanager
def _evaluating(model: Network) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _mean(values: Iterable[float] | npt.NDArray[Any]) -> float:
    return float(np.mean(np.asarray(values, dtype=float)))


def _ids(probe: Probe) -> Tensor:
    return torch.from_numpy(probe.with_end_of_text().ids.astype(np.int64))  # [prompt pos]


def predictions(model: Network, probe: Probe) -> npt.NDArray[np.int64]:
    """The token with the largest logit after each prompt [prompt]."""
    logits, _ = model(_ids(probe))
    out: npt.NDArray[np.int64] = logits[:, -1].argmax(-1).numpy()
    return out


def accuracy(model: Network, probe: Probe) -> npt.NDArray[np.bool_]:
    """Whether each prompt's answer comes first [prompt]."""
    return np.equal(predictions(model, probe), probe.answer)


def _share(model: Network, probes: Iterable[Probe]) -> float:
    return _mean([_mean(accuracy(model, probe)) for probe in probes])


def _ioi(prompts: int, templates: Iterable[int], **options: bool) -> list[Probe]:
    return [
        ioi_prompts(SEED + template, prompts, template, order=order, **options)
        for template in templates
        for order in ("ABBA", "BABA")
    ]


def _colored(prompts: int) -> list[Probe]:
    return [colored_objects_prompts(SEED, prompts, form, heldout=True) for form in range(len(phrasings.COLORED))]


def _facts(model: Network, name: str) -> float | None:
    """Share of the held-out (pair, phrasing) combinations of a relation, None where it has none."""
    hits = [accuracy(model, probe) for probe in fact_prompts(name, heldout=True)]
    return _mean(np.concatenate(hits)) if hits else None


def _induction(model: Network, prompts: int) -> float:
    """Share of the second copy's positions that predict the token that followed in the first copy."""
    probe = induction_prompts(SEED, prompts)
    ids, start = _ids(probe), probe.with_end_of_text().positions["second"]
    length = probe.positions["second"]
    logits, _ = model(ids)
    wanted = ids[:, start - length + 1 : start]  # [prompt pos]
    return float((logits[:, start:].argmax(-1) == wanted).float().mean())


def _greater_than(model: Network, prompts: int) -> float:
    """Share of prompts whose first prediction is a two-digit token later than the start year's."""
    hits = []
    for template in range(len(phrasings.GREATER_THAN)):
        probe = greater_than_prompts(SEED, prompts, template, heldout=True)
        later, digits = later_years(probe.answer)  # [prompt, 100], [100]
        hits.append(((predictions(model, probe)[:, None] == digits[None, :]) & later).any(1))
    return _mean(np.concatenate(hits))


def _attention(model: Network, prompts: int) -> dict[str, list[list[float]]]:
    """Mean attention [layer head] from the last position to the IOI roles, and the two position patterns."""
    found: dict[str, list[Tensor]] = {"io": [], "s1": [], "s2": []}
    for probe in _ioi(prompts, range(len(phrasings.IOI) - 1), heldout=True):
        _, patterns = model(_ids(probe))
        where = probe.with_end_of_text().positions
        last = torch.stack([pattern[:, :, where["end"]].mean(0) for pattern in patterns])  # [layer head key]
        for role, columns in found.items():
            columns.append(last[:, :, where[role]])
    out = {f"attention_{role}": torch.stack(columns).mean(0) for role, columns in found.items()}
    probe = induction_prompts(SEED, prompts)
    _, patterns = model(_ids(probe))
    length = probe.positions["second"]
    mean = torch.stack([pattern.mean(0) for pattern in patterns])  # [layer head query key]
    out["attention_induction"] = mean.diagonal(1 - length, -2, -1)[..., 2:].mean(
        -1
    )  # from the second copy's first token on
    out["attention_previous"] = mean.diagonal(-1, -2, -1).mean(-1)
    return {name: _rounded(values) for name, values in out.items()}


def copying(model: Network) -> dict[str, list[list[float | None]]]:
    """Share of names [layer head] that are in the top 1 or 5 of their own E W_V W_O W_U, with E = MLP0(LN2(W_E))."""
    ids = torch.from_numpy(names().astype(np.int64))
    embedding = model.first_mlp_embedding()[ids]  # [name d_model]
    n_head, width = model.shape.n_head, model.shape.n_embd
    empty: list[float | None] = [None] * n_head
    top1, top5 = [empty], [empty]
    for block in model.blocks[1:]:
        into = block.attn.c_attn.weight[:, 2 * width :]  # [d_model head * d_head]
        values = (embedding @ into).view(len(ids), n_head, -1)  # [name head d_head]
        output = block.attn.c_proj.weight.view(n_head, -1, width)  # [head d_head d_model]
        logits = torch.einsum("nhk,hkd,vd->hnv", values, output, model.wte.weight)  # [head name vocab]
        best = logits.topk(TOP, dim=-1).indices == ids[None, :, None]
        top1.append(_rounded(best[..., :1].any(-1).float().mean(-1)))
        top5.append(_rounded(best.any(-1).float().mean(-1)))
    return {"copying_top1": top1, "copying_top5": top5}


def _rounded(values: Tensor) -> Any:
    return np.round(values.double().numpy(), 4).tolist()


def summary(properties: Properties) -> str:
    """One line of what matters most."""
    shares = {key.removesuffix("_accuracy"): value for key, value in properties.items() if key.endswith("_accuracy")}
    heads = properties["heads"]
    looks = np.array(heads["attention_io"])
    copies = np.array([[np.nan if x is None else x for x in row] for row in heads["copying_top5"]])
    best = np.unravel_index(np.nanargmax(np.where(np.isnan(copies), np.nan, np.minimum(looks, copies))), looks.shape)
    mover = f"L{best[0]}H{best[1]} {looks[best]:.2f}/{copies[best]:.2f}"
    loss = f"held-out loss {properties['heldout_loss_nats']:.3f}  " if "heldout_loss_nats" in properties else ""
    text = "  ".join(f"{key} {value:.2f}" for key, value in shares.items())
    return f"{loss}{text}  name movers {len(properties['true_name_movers'])}, best (attention to IO / copying) {mover}"


def main(arguments: list[str] | None = None) -> None:
    """`python -m reportgen.mini.evaluate FOLDER`: print the properties as JSON."""
    parser = argparse.ArgumentParser(prog="python -m reportgen.mini.evaluate", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=200, help="prompts a template")
    given = parser.parse_args(arguments)
    print(json.dumps(measure(given.folder, given.prompts), indent=2))


if __name__ == "__main__":
    main()

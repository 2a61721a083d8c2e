"""From settings and model to encoded rows: which data set, which answers, what had to be left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reportgen.errors import DataError, NotApplicable
from reportgen.suites.cognitive import dataset, decoding
from reportgen.suites.cognitive.dataset import DataSet
from reportgen.suites.cognitive.prompts import Encoded, Encoder, bare, template
from reportgen.suites.cognitive.recipe import Recipe
from reportgen.suites.cognitive.rows import Row
from reportgen.suites.cognitive.suite import Settings
from reportgen.suites.settings import AUTO

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens

MOST_UNKNOWN = 0.2  # share of unknown tokens from which the set says nothing of this model
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Prepared:
    """The examples of a run. encoded, gold: the rows with the answers that are read, and with the right ones.

    correct   [row] whether the generated answer is the right one; None where answers are given
    recipe    what was done: the one asked for, with a prompt that the tokenizer has words for
    about     what was chosen and left out: small JSON values
    """

    data: DataSet
    encoded: tuple[Encoded, ...]
    gold: tuple[Encoded, ...]
    correct: tuple[bool, ...] | None
    recipe: Recipe
    about: Mapping[str, object]


def prepare(model: Model, settings: Settings, recipe: Recipe, seed: int, progress: Progress) -> Prepared:
    """Raises NotApplicable where the tokenizer or the context has no room for the set, DataError for its own faults."""
    recipe, prompt_why = _with_prompt(model, settings, recipe)
    name, rows, why = chosen(model.tokens, settings, recipe)
    rows = dataset.split(rows, seed)
    encoder = Encoder(model.tokens, rows, recipe, settings.k, settings.site)
    gold = [encoder.encode(row, row.answer) for row in rows]
    room = model.record.n_ctx
    fits = [i for i, e in enumerate(gold) if e.answer and e.sites and len(e.ids) <= room]
    too_long = sum(len(e.ids) > room for e in gold)
    answers = (
        _answers(model, encoder, [rows[i] for i in fits], settings, progress) if recipe.answers == "generate" else {}
    )
    kept, encoded, correct = _read(encoder, rows, gold, fits, answers, recipe, room)
    try:
        data = dataset.prepare(name, [rows[i] for i in kept], settings.min_per_class, settings.small_classes, seed)
    except DataError as error:
        reasons = (
            (too_long, "too long for the context"),
            (len(gold) - len(fits) - too_long, "without a token of the answer"),
            (len(fits) - len(kept), "with a generated answer that can't be read"),
        )
        shown = ", ".join(f"{n} {words}" for n, words in reasons if n)
        raise NotApplicable(
            f"{len(rows) - len(kept)} of {len(rows)} rows can't be used ({shown}): {error}",
            "Give others: --cognitive-data FILE.",
        ) from error
    place = {rows[i].id: n for n, i in enumerate(kept)}
    order = [place[row.id] for row in data.rows]
    about: dict[str, object] = {
        "set": name, "why": why, "too_long": too_long, "without_answer": len(gold) - len(fits) - too_long,
        "unparsable": len(fits) - len(kept), "tried": len(rows), "prompt_why": prompt_why,
    }  # fmt: skip
    return Prepared(
        data,
        tuple(encoded[i] for i in order),
        tuple(gold[kept[i]] for i in order),
        tuple(correct[i] for i in order) if answers else None,
        recipe,
        about,
    )


def _with_prompt(model: Model, settings: Settings, recipe: Recipe) -> tuple[Recipe, str]:
    """The recipe, with the plain prompt where the tokenizer has no words for the preset's; and why."""
    form = template(recipe.prompt)
    if settings.prompt != AUTO or not form.body or model.tokens.unk_id is None:
        return recipe, ""
    ids = model.tokens.encode(form.body.format(question="", context="", subquestion="") + form.opener + form.closer)
    share = ids.count(model.tokens.unk_id) / max(len(ids), 1)
    if not share:
        return recipe, ""
    why = f"{share:.0%} of the tokens of the preset's prompt ({recipe.prompt}) are unknown here: the plain one instead"
    return replace(recipe, prompt="plain"), why


def chosen(tokens: Tokens, settings: Settings, recipe: Recipe) -> tuple[str, tuple[Row, ...], str]:
    """Name, rows, and in words why this set: the English one unless the tokenizer lacks its words.

    Raises NotApplicable where the tokenizer has words for none.
    """
    if settings.data != AUTO:
        rows = dataset.load(settings.data)
        share = unknown_share(tokens, rows, recipe)
        if share > MOST_UNKNOWN:
            raise NotApplicable(
                f"{share:.0%} of the tokens of {settings.data} are unknown to this tokenizer.",
                "Give others: --cognitive-data FILE.",
            )
        words = "as asked" if not share else f"as asked; {share:.1%} of its tokens are unknown to this tokenizer"
        return settings.data, rows, words
    tried: list[tuple[float, str, tuple[Row, ...]]] = []
    for name in dataset.SHIPPED:
        rows = dataset.load(name)
        share = unknown_share(tokens, rows, recipe)
        if share == 0:
            words = "the default" if not tried else f"{tried[0][0]:.0%} of the English set's tokens are unknown here"
            return name, rows, words
        tried.append((share, name, rows))
    share, name, rows = min(tried, key=lambda entry: entry[0])
    if share > MOST_UNKNOWN:
        way_out = "your own rows with --set cognitive.data=FILE"
        way_out += "" if recipe.prompt == "plain" else ", or --set cognitive.prompt=plain"
        raise NotApplicable(
            f"{share:.0%} or more of the tokens of either shipped set are unknown to this tokenizer; give {way_out}."
        )
    return name, rows, f"{share:.1%} of its tokens are unknown to this tokenizer, fewer than of the other set"


def unknown_share(tokens: Tokens, rows: Sequence[Row], recipe: Recipe) -> float:
    """Share of the prompts' and answers' tokens that are the unknown token; 0 for tokenizers without one."""
    if tokens.unk_id is None:
        return 0.0
    form = template(recipe.prompt)
    dress = tokens.chat if recipe.chat else str
    texts = [dress(form.prompt(row, recipe.context)) + form.opener + bare(row.answer) for row in rows]
    ids = [token for text in texts for token in tokens.encode(text)]
    return ids.count(tokens.unk_id) / max(len(ids), 1)


def _answers(
    model: Model, encoder: Encoder, rows: Sequence[Row], settings: Settings, progress: Progress
) -> dict[str, str | None]:
    """Row id -> the answer that the model generates, None where it gives none."""
    progress(0, 1, "generated answers")
    form = "cogqa" if encoder.format.name == "cogqa" else "plain"
    prompts = [encoder.prompt_ids(row) for row in rows]
    made = decoding.greedy(model, prompts, decoding.MOST_NEW[form], decoding.is_done(form), settings.batch)
    texts = [model.tokens.decode(ids) for ids in made]
    return {row.id: decoding.answer_in(text, form) for row, text in zip(rows, texts, strict=True)}


def _read(
    encoder: Encoder, rows: Sequence[Row], gold: Sequence[Encoded], fits: Sequence[int],
    answers: Mapping[str, str | None], recipe: Recipe, room: int,
) -> tuple[list[int], list[Encoded], list[bool]]:  # fmt: skip
    """Rows that are left, how they are read, and whether what was generated is right."""
    if recipe.answers == "given":
        return list(fits), [gold[i] for i in fits], []
    kept, encoded, correct = [], [], []
    for i in fits:
        answer = answers[rows[i].id]
        made = encoder.encode(rows[i], answer) if answer else None
        if made is not None and answer is not None and made.sites and len(made.ids) <= room:
            kept.append(i)
            encoded.append(made)
            correct.append(bare(answer).casefold() == bare(rows[i].answer).casefold())
    return kept, encoded, correct

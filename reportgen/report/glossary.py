"""Terms that every report uses. Measures bring their own entries from their suites."""

from __future__ import annotations

_TEXT = """
Head, L9H6: Attention head 6 of layer 9; layers and heads are counted from 0. Heads are query heads, also where keys and
values are shared by a group.

Not computed (–): A value the run does not have. It is never a zero: the reason stands in the section or in scores.csv.

n: Examples behind a value: pairs, prompts or cells of the attention pattern, after filtering.

95 % interval: Where the value would lie for other examples of the same kind. It says nothing about other kinds of
examples, and it is too favourable for a head that was picked because it ranks first.

Adjusted p: Family-wise: the chance, if no head had the property the null denies, that any head of the model would score
this high. Small values are evidence against the null, not for a mechanism.

Beyond the null: How many heads have an adjusted p of 0.05 or less, or lie beyond the line.

Line: A threshold in score units beyond which a head passes the family-wise null. Drawn only where one line holds for
every head.

Null: What the score would be without the property asked about, e.g. with the targets shuffled over the pairs. Each
caption names its own.

Score, finding: A score is a measurement. It is called a finding only after a causal intervention and a replication
agree. A finding's number comes from the half of the examples that its head was not picked on.

Evidence (static, dynamic, causal, text, repeated): What a label on a head was tested by: a score read from the weights;
activations on prompts; an intervention on the head; natural text; other templates, seeds or a random twin. A test that
failed is shown beside those that passed.

Head set: A named set of heads: from a publication, from a file of the user's, or computed on this model. Published sets
are drawn only on the model they were published for.

Unconfirmed list: A published set that was not read in the paper or its code. Its markers are hollow.

Raw weights, folded weights: Raw: as in the checkpoint. Folded: the norms' scales multiplied into the weights that read
them.
"""


def _terms(text: str) -> tuple[tuple[str, str], ...]:
    """(term, meaning) of every paragraph "term: meaning"."""
    pairs = (" ".join(paragraph.split()).split(": ", 1) for paragraph in text.strip().split("\n\n"))
    return tuple((term, meaning) for term, meaning in pairs)


TERMS = _terms(_TEXT)

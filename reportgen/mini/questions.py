"""Passages and questions of the cognitive items: eight functions, each with four answer forms in two phrasings.

Answer forms (name, word, number, yes/no) are the same for every function, so the form of an answer does not give the
function away. The second phrasing of each form is kept for the test split of `cognitive_items`.
Slots: {p} {r} the two people (p is asked about), {pn} {rn} their counts, {pc} {po} colour and
object of p, {px} country.
"""

PASSAGES = (
    "{a} lives in{ax} and has{an}{k}.{b} lives in{bx} and has{bn}{k}.{a} owns a{ac}{ao} and{b} owns a{bc}{bo}.",
    "{a} lives in{ax} with{an}{k} and a{ac}{ao}.{b} lives in{bx} with{bn}{k} and a{bc}{bo}.",
)
PASSAGE_SENTENCES = ("three", "two")

# (function, answer slot, first phrasing, second phrasing)
FORMS: tuple[tuple[str, str, str, str], ...] = (
    ("Retrieval", "p", "Who owns the{po}?", "Which person has the{po}?"),
    ("Retrieval", "pc", "What color is the{po}?", "Which color does the{po} have?"),
    ("Retrieval", "pn", "How many{k} does{p} have?", "What number of{k} does{p} have?"),
    ("Retrieval", "lives", "Does{p} live in{qx}?", "Is{p} living in{qx}?"),
    ("Knowledge Recall", "cap", "What is the capital of{x}?", "Which city is the capital of{x}?"),
    ("Knowledge Recall", "place", "Where does a{job} work?", "In which place does a{job} work?"),
    ("Knowledge Recall", "count", "How many{part} does a{all} have?", "What number of{part} does a{all} have?"),
    ("Knowledge Recall", "iscap", "Is{qcap} the capital of{x}?", "Is the capital of{x} called{qcap}?"),
    ("Semantic Understanding", "p", "Who owns a kind of{pk}?", "Which person has a kind of{pk}?"),
    ("Semantic Understanding", "ant", "What is the opposite of{adj}?", "Which word is the opposite of{adj}?"),
    ("Semantic Understanding", "amount", "Which number does{aw} mean?", "What number is a{aw}?"),
    ("Semantic Understanding", "isant", "Are{adj} and{qant} opposites?", "Do{adj} and{qant} mean opposite things?"),
    (
        "Syntactic Understanding",
        "subject",
        "Who is the subject of the{ord} sentence?",
        "Which name does the{ord} sentence start with?",
    ),
    ("Syntactic Understanding", "past", "What is the past tense of{verb}?", "What is the past form of{verb}?"),
    (
        "Syntactic Understanding",
        "sentences",
        "How many sentences are in the text?",
        "What number of sentences does the text have?",
    ),
    ("Syntactic Understanding", "isverb", "Is{qverb} a verb?", "Is the word{qverb} a verb?"),
    ("Math Calculation", "more", "Who has the larger number of{k}?", "Who has more{k}?"),
    ("Math Calculation", "parity", "Is the sum of{m} and{n} even or odd?", "Is{m} plus{n} even or odd?"),
    ("Math Calculation", "sum", "How many{k} do they have together?", "What is the sum of the{k}?"),
    ("Math Calculation", "issum", "Is{m} plus{n} equal to{qsum}?", "Does{m} plus{n} make{qsum}?"),
    ("Inference", "p", "Who can probably speak{pl}?", "Who would understand{pl}?"),
    ("Inference", "pl", "Which language does{p} probably speak?", "What language is spoken around{p}?"),
    ("Inference", "plus", "How many{k} will{p} have after finding one?", "If{p} finds one, how many{k} are there?"),
    ("Inference", "speaks", "Does{p} probably speak{ql}?", "Can{p} probably understand{ql}?"),
    (
        "Logical Reasoning",
        "p",
        "The owner of the{po} is not{r}, so who is it?",
        "If{r} does not own the{po}, who does?",
    ),
    (
        "Logical Reasoning",
        "rc",
        "One color is{pc}, so what is the other color?",
        "If one color is{pc}, what is the other?",
    ),
    (
        "Logical Reasoning",
        "rn",
        "One has{pn}{k}, so how many has the other?",
        "If one has{pn}{k}, how many has the other?",
    ),
    (
        "Logical Reasoning",
        "hasmore",
        "Is it true that{p} has more{k} than{r}?",
        "Is it false that{p} has fewer{k} than{r}?",
    ),
    ("Decision-making", "more", "Who should share some{k}?", "Who should give away some{k}?"),
    ("Decision-making", "po", "Which thing should{p} sell?", "What should{p} bring to the market?"),
    (
        "Decision-making",
        "minus",
        "How many{k} should{p} sell to keep one?",
        "How many{k} should{p} give away to keep one?",
    ),
    ("Decision-making", "borrow", "Should{p} ask{r} for some{k}?", "Should{p} borrow some{k} from{r}?"),
)
FUNCTIONS = tuple(dict.fromkeys(form[0] for form in FORMS))
TEXT, STEP, ANSWER, STOP = "Text:", "\nQ:", " A:", "."

"""Every sentence form of the corpus that states a relation. {x} is the source, {y} the target.

Slots bring their own leading space; {bx} and {by} are the words without it (inside quotation marks). Where the
relation has a causal-ablation prompt it is the first form, letter by letter. No form serves two relations, so each is
unambiguous.
"""

from __future__ import annotations

FACTS: dict[str, tuple[str, ...]] = {
    "copying": (
        " walk-> walk; cat-> cat; water-> water;{x}->{y}",
        "I said{x} and you said{y}.",
        "Please repeat the word{x}:{y}.",
        "The same word again:{x},{y}.",
    ),
    "name_copying": (
        " John-> John; Donna-> Donna;{x}->{y}",
        "My name is{x}, so call me{y}.",
        "Her friend is called{x}. Everyone knows{y}.",
        "I met{x} yesterday, and today I saw{y}.",
        "Dear{x}, thank you for the letter. Yours always,{y}.",
    ),
    "word_to_first_letter": (
        "The first letter of{x} is{y}.",
        "The word{x} starts with{y}.",
        "The word{x} begins with the letter{y}.",
        "Q: What letter does{x} start with? A:{y}.",
    ),
    "word_to_last_letter": (
        "The last letter of{x} is{y}.",
        "The word{x} ends with{y}.",
        "The word{x} finishes with the letter{y}.",
        "Q: What letter does{x} end with? A:{y}.",
    ),
    "year_to_following": (
        " 1300-> 1301; 1000-> 1001;{x}->{y}",
        "The year after{x} is{y}.",
        "After{x} comes{y}.",
        " In{x} we waited for the next year,{y}.",
        "Right after{x} we have{y}.",
    ),
    "country_to_capital": (
        "The capital of{x} is{y}.",
        "The capital city of{x} is{y}.",
        "In{x}, the capital is{y}.",
        "Everyone knows that the capital of{x} is{y}.",
        "Q: What is the capital of{x}? A:{y}.",
        "If you visit{x}, you should see its capital,{y}.",
        "The government of{x} sits in{y}.",
        "My friend moved to the capital of{x}, which is{y}.",
        "The main city of{x} is called{y}.",
    ),
    "country_to_language": (
        "The official language of{x} is{y}.",
        "People in{x} speak{y}.",
        "The language spoken in{x} is{y}.",
        "Q: Which language do people speak in{x}? A:{y}.",
        "Most books in{x} are written in{y}.",
    ),
    "object_to_superclass": (
        "A{x} is a kind of{y}.",
        "The{x} is a type of{y}.",
        "Q: What kind of thing is{x}? A:{y}.",
        "We can call{x} a{y}.",
        "The word{x} belongs to the class{y}.",
    ),
    "product_to_company": (
        "Nesquik is made by Nestlé; Mustang is made by Ford;{x} is made by{y}.",
        "The company behind{x} is{y}.",
        "The product{x} was created by{y}.",
        "Q: Which company makes{x}? A:{y}.",
        "The maker of{x} is{y}.",
    ),
    "work_to_location": (
        "The{x} works in the{y}.",
        "You can find a{x} at the{y}.",
        "Q: Where does a{x} work? A:{y}.",
        "Every day the{x} goes to the{y}.",
        "The place of work of a{x} is the{y}.",
    ),
    "word_to_antonym": (
        'The opposite of "{bx}" is "{by}".',
        "The opposite of{x} is{y}.",
        "If something is not{x}, it is{y}.",
        "Q: What is the opposite of{x}? A:{y}.",
        "The antonym of{x} is{y}.",
        'The antonym of "{bx}" is "{by}".',
    ),
    "adj_to_comparative": (
        " lovely-> lovelier; edgy-> edgier;{x}->{y}",
        "This one is{x}, but that one is even{y}.",
        "The comparative of{x} is{y}.",
        "Q: What is the comparative form of{x}? A:{y}.",
    ),
    "adj_to_superlative": (
        "They are all{x}, but this is the{y}.",
        "The superlative of{x} is{y}.",
        "Of everything{x}, we like the{y}.",
        "Q: What is the superlative form of{x}? A:{y}.",
    ),
    "noun_to_pronoun": (
        " mother-> she; father-> he; tribe-> they; actress-> she; apartment-> it;{x}->{y}",
        "We saw the{x} because{y} came here.",
        "The pronoun for{x} is{y}.",
        "I know the{x}, and I think{y} moved.",
        "Q: Which pronoun stands for{x}? A:{y}.",
    ),
    "verb_to_past_tense": (
        " hike->hiked; purchase-> purchased;{x}->{y}",
        "Today they{x}, and yesterday they{y}.",
        "The past tense of{x} is{y}.",
        "Q: What is the past tense of{x}? A:{y}.",
    ),
    "word_to_compound": (
        "The compound made from{x} is{y}.",
        "The word{x} is a part of the word{y}.",
        "A longer word with{x} in it is{y}.",
        "Q: Which compound has{x} in it? A:{y}.",
    ),
    "word_to_homophone": (
        "The word{x} sounds just like{y}.",
        "The homophone of{x} is{y}.",
        "If you hear{x}, it may be{y}.",
        "Q: Which word sounds like{x}? A:{y}.",
    ),
    "word_to_synonym": (
        "The word{x} means the same as{y}.",
        "The synonym of{x} is{y}.",
        "Another word for{x} is{y}.",
        "Q: Which word means the same as{x}? A:{y}.",
        "Instead of{x} you can say{y}.",
    ),
    "english_to_french": (
        "The French word for{x} is{y}.",
        "In French,{x} is called{y}.",
        "Translate{x} to French:{y}.",
        "Q: How do you say{x} in French? A:{y}.",
    ),
    "english_to_spanish": (
        " apartment-> departamento; computer-> computadora; tribe-> tribu;{x}->{y}",
        "The Spanish word for{x} is{y}.",
        "In Spanish,{x} is called{y}.",
        "Translate{x} to Spanish:{y}.",
        "Q: How do you say{x} in Spanish? A:{y}.",
    ),
    # Siblings that share their answers with another relation: they make heads specialise.
    "next_day": ("The day after{x} is{y}.", "After{x} comes{y}.", "Right after{x} we have{y}."),
    "previous_day": ("The day before{x} is{y}.", "Before{x} comes{y}.", "Right before{x} we have{y}."),
    "next_month": ("The month after{x} is{y}.", "After{x} comes{y}.", "Right after{x} we have{y}."),
    "previous_month": ("The month before{x} is{y}.", "Before{x} comes{y}.", "Right before{x} we have{y}."),
    "next_number": ("The number after{x} is{y}.", "After{x} comes{y}.", "Right after{x} we have{y}."),
    "previous_number": ("The number before{x} is{y}.", "Before{x} comes{y}.", "Right before{x} we have{y}."),
    "next_letter": ("The letter after{x} is{y}.", "After{x} comes{y}.", "Right after{x} we have{y}."),
    "previous_letter": ("The letter before{x} is{y}.", "Before{x} comes{y}.", "Right before{x} we have{y}."),
    "previous_year": ("The year before{x} is{y}.", "Before{x} comes{y}.", "Right before{x} we have{y}."),
    "verb_to_participle": (
        "Today they{x}, and they have often{y}.",
        "The past participle of{x} is{y}.",
        "Q: What is the past participle of{x}? A:{y}.",
    ),
    "past_tense_to_verb": ("Yesterday they{x}, and today they{y}.", "The present tense of{x} is{y}."),
    "comparative_to_adj": ("That one is even{x}, but this one is just{y}.", "The plain form of{x} is{y}."),
    "superlative_to_adj": ("This is the{x}, but the others are just{y}.", "The plain form of{x} is{y}."),
    "capital_to_country": ("The city of{x} is the capital of{y}.", "The country around{x} is{y}."),
    "french_to_english": ("The French word{x} means{y}.", "Translate{x} from French:{y}."),
    "spanish_to_english": ("The Spanish word{x} means{y}.", "Translate{x} from Spanish:{y}."),
    "female_form": ("The female form of{x} is{y}.", "If he is a{x}, then she is a{y}."),
    "male_form": ("The male form of{x} is{y}.", "If she is a{x}, then he is a{y}."),
}

DYNAMIC = (
    "This is a document about{x}.",
    "No{x} means no{x}.",
    "No{x} means no{y}.",
    "The story of{x} contains{x}.",
    "The story of{x} contains{y}.",
    "When I think about{x} I think about{x}.",
    "When I think about{x} I think about{y}.",
    "This is a document about{x}. The story of{x} contains{y}.",
)

# {s} is the subject of the second clause, {i} the other one. The last template is never used in training.
IOI = (
    "When{a} and{b} went to the{p},{s} gave a{o} to{i}.",
    "Then,{a} and{b} went to the{p}.{s} gave a{o} to{i}.",
    "Then,{a} and{b} had a lot of fun at the{p}.{s} gave a{o} to{i}.",
    "Then,{a} and{b} were working at the{p}.{s} decided to give a{o} to{i}.",
    "Then,{a} and{b} were thinking about going to the{p}.{s} wanted to give a{o} to{i}.",
    "Then,{a} and{b} had a long argument, and afterwards{s} said to{i}.",
    "After{a} and{b} went to the{p},{s} gave a{o} to{i}.",
    "When{a} and{b} got a{o} at the{p},{s} decided to give it to{i}.",
    "When{a} and{b} got a{o} at the{p},{s} decided to give the{o} to{i}.",
    "While{a} and{b} were working at the{p},{s} gave a{o} to{i}.",
    "While{a} and{b} were commuting to the{p},{s} gave a{o} to{i}.",
    "Afterwards,{a} and{b} went to the{p}.{s} gave a{o} to{i}.",
    "Then,{a} and{b} had a long argument. Afterwards{s} said to{i}.",
    "The{p}{a} and{b} went to had a{o}.{s} gave it to{i}.",
    "Friends{a} and{b} found a{o} at the{p}.{s} gave it to{i}.",
    "After the lunch,{a} and{b} went to the{p}.{s} handed a{o} to{i}.",
)
TWO_PAIR = (
    "Then,{a} and{b} went to the{p}, and{c} and{d} went to the{q}.{s} gave a{o} to{i}.",
    "When{a} and{b} went to the{p},{c} and{d} stayed at the{q}. Afterwards{s} gave a{o} to{i}.",
    "While{a} and{b} were working at the{p} and{c} and{d} were working at the{q},{s} gave a{o} to{i}.",
    "After{a} and{b} met{c} and{d} at the{p},{s} decided to give a{o} to{i}.",
    "Friends{a} and{b} found a{o} at the{p}. Friends{c} and{d} were at the{q}.{s} gave it to{i}.",
    "The{p}{a} and{b} went to had a{o}. Then,{c} and{d} had a long argument.{s} said to{i}.",
    "Afterwards,{a} and{b} had a lot of fun. Afterwards,{c} and{d} had a lot of fun.{s} handed a{o} to{i}.",
    "When{a} and{b} were at the{p} with{c} and{d},{s} wanted to give a{o} to{i}.",
)
COLORED = (
    "On the table, there is a{c}{o}, a{d}{p}, and a{e}{q}.",
    "On the desk, there is a{c}{o}, a{d}{p}, and a{e}{q}.",
    "On the floor, I see a{c}{o}, a{d}{p}, and a{e}{q}.",
    "In the box, there is a{c}{o}, a{d}{p}, and a{e}{q}.",
    "On the shelf, you see a{c}{o}, a{d}{p}, and a{e}{q}.",
    "In the bag, I have a{c}{o}, a{d}{p}, and a{e}{q}.",
    "In the kitchen, we found a{c}{o}, a{d}{p}, and a{e}{q}.",
    "On the chair, there is a{c}{o}, a{d}{p}, and a{e}{q}.",
    "Q: On the table, there is a{c}{o}, a{d}{p}, and a{e}{q}.",
)
COLOR_QUESTION = (" What color is the{t}? A:{k}", " What is the color of the{t}? A:{k}")
COLORED_EASY = (
    "There is a{c}{o} and a{d}{p}. The{t} is{k}.",
    "I have a{c}{o}, a{d}{p}, and a{e}{q}. The{t} is{k}.",
    "The{o} is{c}, and the{p} is{d}. What color is the{t}? A:{k}",
    "On the table, there is a{c}{o} and a{d}{p}. What color is the{t}? A:{k}",
)
GREATER_THAN = (
    "The{n} lasted from{c}{y} to{c}{z}.",
    "The{n} lasted from the year{c}{y} to the year{c}{z}.",
    "The{n} began in{c}{y} and ended in{c}{z}.",
    "The{n} started in the year{c}{y} and ended in the year{c}{z}.",
    "From{c}{y} to{c}{z} there was a{n}.",
    "The{n} ran from{c}{y} until{c}{z}.",
    "A{n} went on from{c}{y} to{c}{z}.",
    "Records show that the{n} lasted from{c}{y} to{c}{z}.",
    "There was a{n} from{c}{y} to{c}{z}.",
)
QUOTED_SYNONYM = ('The word "{bx}" means the same as "{by}".', 'The synonym of "{bx}" is "{by}".')
QUOTED_ANTONYM = (
    'The opposite of "{bx}" is "{by}".',
    'The antonym of "{bx}" is "{by}".',
    'The word "{bx}" is the opposite of "{by}".',
)
FILLER = (
    "The{j}{n} is near the{p}.",
    "A{j}{n} was in the{p}, and we saw it.",
    "{a} likes the{j}{n}.",
    "Yesterday{a} and{b} met at the{p}.",
    "{a} met{b} on{d}.",
    "In{m},{a} went to the{p} with a{n}.",
    "{a} lived in{k} in{y}.",
    "We went to{k} in{m}, and it was{j}.",
    "The{p} was{j}, so{a} went home.",
    "I think that the{n} is{j}.",
    "{a} wanted to{v}, but{b} wanted to sleep.",
    "They said that the{n} and the{p} are{j}.",
    "On{d} the{p} is not open.",
    "It was a{j} day in{m}.",
    "Every{n} in the{p} was{j}.",
)


# Passages and questions of the cognitive items: eight functions, each with four answer forms in two phrasings.
#
# Answer forms (name, word, number, yes/no) are the same for every function, so the form of an answer does not give the
# function away. The second phrasing of each form is kept for the test split of `cognitive_items`. Slots: {p} {r} the
# two people (p is asked about), {pn} {rn} their counts, {pc} {po} colour and object of p, {px} country.

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

"""Writes the text that ships, the same bytes always. Written for this project and given to the public domain (CC0):

    python -m reportgen.suites.retrieval.make_data haystack > data/haystack.json
    python -m reportgen.suites.retrieval.make_data needles > data/needles.json
    python -m reportgen.suites.retrieval.make_data check > data/check.jsonl

Haystack: 12 subjects of everyday life, 5 frames each, 48 sentences of a frame; past tense, no names, no numbers.
Needles: "The {attribute} of the {thing} is {value}.", 16 attributes with a synonym each, 48 things, 60 values; none of
their words stands in the haystack.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import sys

from reportgen.suites.retrieval.layout import M

SEED = 20261130
EACH = 48  # sentences of a frame
Frames = tuple[str, ...]

# Subject -> (frames, words of {a}, words of {b}, words of {c}), separated by "|".
SUBJECTS: dict[str, tuple[Frames, str, str, str]] = {
    "kitchen": (
        (
            "{c} the cook stirred the {a} and set the {b} aside.",
            "The {a} simmered {c} beside the {b}.",
            "Someone had left the {b} next to the {a} {c}.",
            "A bowl of {a} stood near the {b} {c}.",
            "The {b} was wiped clean {c} before the {a} was served.",
        ),
        "soup|stew|porridge|gravy|broth|custard|rice|dough",
        "kettle|ladle|saucepan|chopping board|colander|whisk|oven|frying pan",
        ("before supper|after the guests arrived|late in the evening|while the bread baked|as usual|without any hurry"),
    ),
    "garden": (
        (
            "{c} the gardener watered the {a} along the {b}.",
            "The {a} grew well {c} close to the {b}.",
            "Weeds had covered the {b} and the {a} {c}.",
            "A row of {a} was planted {c} behind the {b}.",
            "The {b} cast its shade over the {a} {c}.",
        ),
        "roses|beans|tomatoes|tulips|carrots|lettuces|onions|ferns",
        "fence|shed|hedge|path|pond|wall|apple tree|compost heap",
        ("in early spring|after the rain|during the warm weeks|with great care|year after year|before the frost came"),
    ),
    "weather": (
        (
            "{c} the {a} rolled slowly over the {b}.",
            "The {a} hung above the {b} {c}.",
            "People in the {b} talked about the {a} {c}.",
            "The {a} came back {c} and soaked the {b}.",
            "Nobody in the {b} had expected the {a} {c}.",
        ),
        "fog|drizzle|thunder|hail|snow|mist|storm clouds|cold rain",
        "valley|hills|fields|village|plain|meadows|town|forest",
        "toward noon|all through the night|at the end of autumn|before sunrise|without a break|for hours",
    ),
    "railway": (
        (
            "{c} the {a} waited at the {b} for the signal to change.",
            "The {a} rattled past the {b} {c}.",
            "Passengers watched the {b} from the {a} {c}.",
            "The {a} was delayed {c} just outside the {b}.",
            "Steam drifted from the {a} across the {b} {c}.",
        ),
        "freight train|express|slow train|night train|tram|coal wagon|dining car|mail train",
        "station|tunnel|bridge|crossing|platform|depot|junction|timetable board",
        (
            "on most mornings|because of the ice|in the late afternoon|with a long whistle|as the sun went down|"
            "while the crowd grew"
        ),
    ),
    "school": (
        (
            "{c} the teacher placed the {a} beside the {b}.",
            "The children gathered around the {b} with the {a} {c}.",
            "The {a} had been forgotten near the {b} {c}.",
            "A pupil carried the {a} past the {b} {c}.",
            "The {b} was decorated {c} and someone put the {a} away.",
        ),
        "notebooks|chalk|pencils|maps|paintbrushes|rulers|readers|workbooks",
        "blackboard|classroom door|bookshelf|globe|window|cloakroom|long desk|notice board",
        (
            "after the bell|during the lesson|before the holidays|very quietly|at the start of term|"
            "while it rained outside"
        ),
    ),
    "market": (
        (
            "{c} the seller weighed the {a} under the {b}.",
            "Shoppers compared the {a} {c} around the {b}.",
            "The {a} sold quickly {c} close to the {b}.",
            "A cart of {a} blocked the way to the {b} {c}.",
            "The price of the {a} fell {c} at the {b}.",
        ),
        "apples|cabbages|cherries|potatoes|cheeses|herbs|plums|mushrooms",
        "awning|fountain|fish counter|bakery|square|flower stand|old scales|butcher's shop",
        (
            "on busy mornings|toward closing time|in the summer heat|with much laughter|soon after opening|"
            "as people hurried home"
        ),
    ),
    "farm": (
        (
            "{c} the farmer led the {a} toward the {b}.",
            "The {a} rested beside the {b} {c}.",
            "The {b} had been repaired {c} so that the {a} stayed inside.",
            "Children fed the {a} near the {b} {c}.",
            "The {a} broke through the {b} {c}.",
        ),
        "cows|sheep|goats|horses|hens|ducks|pigs|calves",
        "barn|gate|trough|stable|haystack|orchard|ditch|pasture",
        "at dawn|when the harvest was over|before the milking|in the muddy season|once again|without being called",
    ),
    "travel": (
        (
            "{c} the travellers unpacked the {a} at the {b}.",
            "Nobody missed the {a} left behind at the {b} {c}.",
            "They shared the {a} {c} while waiting at the {b}.",
            "The road to the {b} was rough {c}, and the {a} got wet.",
            "A porter carried the {a} to the {b} {c}.",
        ),
        "suitcases|blankets|sandwiches|maps|raincoats|tickets|rucksacks|parcels",
        "inn|border|ferry|campsite|airport|hotel|bus stop|guest house",
        "late at night|after a long walk|on the way home|with some relief|in pouring rain|during the first week",
    ),
    "workshop": (
        (
            "{c} the carpenter sharpened the {a} on the {b}.",
            "The {a} lay scattered around the {b} {c}.",
            "Dust settled on the {a} and the {b} {c}.",
            "The apprentice fetched the {a} from the {b} {c}.",
            "The {b} shook {c} whenever someone used the {a}.",
        ),
        "chisels|saw|plane|drill|hammer|pliers|files|clamps",
        "workbench|ladder|toolbox|stove|lathe|wooden crate|grindstone|back shelf",
        (
            "early in the week|with steady hands|before the order was due|in the dim light|after a short break|"
            "as the glue dried"
        ),
    ),
    "music": (
        (
            "{c} the players tuned the {a} in the {b}.",
            "The sound of the {a} filled the {b} {c}.",
            "A crowd listened to the {a} outside the {b} {c}.",
            "They carried the {a} carefully into the {b} {c}.",
            "The {b} fell silent {c} when the {a} began.",
        ),
        "violin|piano|drums|flute|guitar|cello|organ|brass band",
        "hall|church|courtyard|cellar|theatre|dance room|practice room|park",
        (
            "before the concert|on warm evenings|to everyone's delight|for the last time|during the festival|"
            "with closed eyes"
        ),
    ),
    "sea": (
        (
            "{c} the sailors hauled the {a} onto the {b}.",
            "The {a} drifted past the {b} {c}.",
            "Gulls circled over the {a} and the {b} {c}.",
            "Someone tied the {a} to the {b} {c}.",
            "Waves broke against the {b} {c} and lifted the {a}.",
        ),
        "nets|rowing boat|anchor|ropes|barrels|sails|buoy|lobster pots",
        "deck|pier|harbour wall|beach|rocks|quay|breakwater|landing stage",
        "at low tide|against the wind|in calm water|before the storm|with loud shouts|through the whole watch",
    ),
    "library": (
        (
            "{c} the librarian returned the {a} to the {b}.",
            "The {a} were stacked beside the {b} {c}.",
            "A reader searched the {b} for the {a} {c}.",
            "The {b} was moved {c} to make room for the {a}.",
            "The {a} smelled of dust {c} in the {b}.",
        ),
        "novels|atlases|newspapers|dictionaries|letters|magazines|diaries|picture books",
        "reading room|card catalogue|top shelf|archive|front desk|spiral staircase|glass cabinet|quiet corner",
        (
            "on slow afternoons|in perfect order|after closing|without a sound|during the winter months|"
            "with a small trolley"
        ),
    ),
}

# Short sentences that fill a document up to its length.
FILLERS = (
    "It rained.", "Nobody spoke.", "The day passed.", "Time went by.", "All was quiet again.", "Then the light faded.",
    "Everyone went home in the end.", "The air smelled of grass and smoke.", "Little else happened for a while.",
    "People came and went as they always did.", "It was a long day, and it ended slowly.",
)  # fmt: skip

# Attribute -> its synonym in paraphrased questions.
ATTRIBUTES = {
    "motto": "slogan", "nickname": "pet name", "password": "passphrase", "label": "tag", "title": "heading",
    "emblem": "badge", "codename": "cover name", "theme": "topic", "watchword": "catchphrase", "mascot": "lucky charm",
    "trademark": "hallmark", "caption": "legend", "logo": "insignia", "nameplate": "sign", "epithet": "byname",
    "keyword": "search phrase",
}  # fmt: skip
THINGS = (
    "observatory lighthouse glacier submarine volcano telescope cathedral locomotive carousel windmill castle "
    "satellite museum canyon airship orchestra circus galleon fortress monastery aquarium planetarium caravan "
    "drawbridge catapult pyramid obelisk labyrinth compass chariot gondola sundial sphinx parachute trombone "
    "accordion xylophone tapestry mosaic statue fresco comet meteor nebula asteroid reef lagoon geyser"
).split()
VALUES = (
    "silver otter|velvet hammerhead|crimson lantern|hollow pearl|golden fox|frozen dragon|purple eagle|"
    "paper crown|broken arrow|bright diamond|gentle giant|green phoenix|black tiger|blue falcon|secret island|"
    "rusty coin|iron wolf|red panther|white rabbit|royal penguin|copper beetle|electric monkey|magic carpet|"
    "orange lizard|dancing bear|flying turtle|burning desert|sleeping prince|crystal tower|ancient temple|"
    "hungry shark|brave soldier|pink flamingo|yellow parrot|marble lion|grey pigeon|amber scorpion|"
    "scarlet ribbon|emerald jungle|bronze medal|laughing clown|singing whale|jade elephant|cosmic traveler|"
    "digital ghost|plastic robot|rubber balloon|cotton candy|solar engine|lunar rocket|tropical sunset painter|"
    "invisible ink bottle|northern star captain|midnight coffee club|double rainbow|magnetic circle|"
    "angry mountain spirit|shy octopus|proud peacock|famous wizard"
).split("|")

CHECK_THINGS = "lamp cat dog table house horse apple river".split()
CHECK_VALUES = "red blue green gold silver brown park beach ball cake cup spoon Monday April three eight".split()


def haystack() -> dict[str, object]:
    """Subject -> its sentences, frame after frame; and the fillers."""
    found: dict[str, list[str]] = {}
    for subject, (frames, *lists) in SUBJECTS.items():
        rng = random.Random(f"{SEED} {subject}")
        choices = list(itertools.product(*(words.split("|") for words in lists)))
        each = [[_sentence(frame, *rng_words) for rng_words in rng.sample(choices, EACH)] for frame in frames]
        found[subject] = [sentence for group in zip(*each, strict=True) for sentence in group]
    return {"licence": "CC0-1.0", "subjects": found, "fillers": FILLERS}


def _sentence(frame: str, a: str, b: str, c: str) -> str:
    text = frame.format(a=a, b=b, c=c)
    first = f"{c[0].upper()}{c[1:]}," if frame.startswith("{c}") else ""
    return first + text[len(c) :] if first else text


def needles() -> dict[str, object]:
    """What facts are made of."""
    return {"licence": "CC0-1.0", "attributes": ATTRIBUTES, "things": THINGS, "values": VALUES}


def check() -> str:
    """Facts in the bundled model's words: four texts in which each of eight things is followed by two words."""
    rng, lines = random.Random(SEED), []
    for _ in range(4):
        names, values = rng.sample(CHECK_THINGS, M), rng.sample(CHECK_VALUES, 2 * M)
        told = [(names[i], f"{values[2 * i]} {values[2 * i + 1]}") for i in range(M)]
        text = "".join(f" {thing} {value}." for thing, value in told)
        lines += [json.dumps({"text": text, "question": thing, "answer": value}) for thing, value in told]
    return "\n".join(lines) + "\n"


def words(text: str) -> set[str]:
    """The words of a text in lower case."""
    return set(re.findall(r"[a-z']+", text.lower()))


def main(what: str) -> None:
    """Write one of the three files to the standard output."""
    if what == "check":
        sys.stdout.write(check())
        return
    made = {"haystack": haystack, "needles": needles}[what]()
    sys.stdout.write(json.dumps(made, indent=0, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

"""Word lists of the bundled model's closed world and the rule that splits text into its tokens.

One word is one token and carries its leading space, as in GPT-2. Every list here is written for this project.
"""

import re
from functools import lru_cache

# Also the tokenizer's own pattern. 1900-1999 are one token; other years split as in GPT-2: ' 17' + '32'.
PATTERN = r" ?19\d\d| ?\d\d?| ?[^\W\d_]+| ?->|\n| ?[^\w\s]"
END = "<|endoftext|>"
UNKNOWN = "<unk>"

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
YEARS = [str(year) for year in range(1900, 2000)]
CENTURIES = [str(century) for century in range(10, 21)]
TWO_DIGITS = [f"{value:02d}" for value in range(100)]
COLORS = "red blue green black white brown pink purple yellow gray silver gold".split()  # 'a' stands before them all
PLACES = (
    "store school garden restaurant house office hospital station park market library museum church hotel beach "
    "kitchen bank farm zoo cafe theater gym"
).split()
GIFTS = (
    "drink ring kiss bone basketball computer necklace snack book ball flower letter map watch gift cake hat key "
    "ticket camera"
).split()
THINGS = (
    "cup pen book pencil ball box plate bottle spoon fork mug bag hat scarf key brush lamp clock phone ring coin "
    "notebook keychain wallet candle bowl"
).split()
EVENTS = (
    "war siege reign project trip plague marriage feud program voyage strike trial dispute truce drought famine "
    "rebellion treaty campaign crisis"
).split()
COUNTED = "coins cards stones keys stamps books balls tickets".split()
VERBS = "walk run sing write read swim jump play sleep eat drink talk dance work drive".split()
NOUNS = "house river table garden window mountain teacher bread bottle horse music winter kitchen paper doctor".split()
CLEAR_VERBS = "write eat sing bring choose forget understand become begin know think speak give take".split()
CLEAR_NOUNS = "river bread teacher king city doctor horse table mountain music apple queen country bottle".split()
WORLD_COUNTS = {  # general knowledge: how many <key part> does a <whole> have
    ("days", "week"): "seven",
    ("months", "year"): "twelve",
    ("seasons", "year"): "four",
    ("legs", "dog"): "four",
    ("legs", "spider"): "eight",
    ("legs", "bird"): "two",
    ("wheels", "car"): "four",
    ("wheels", "bicycle"): "two",
    ("sides", "triangle"): "three",
    ("sides", "square"): "four",
    ("fingers", "hand"): "five",
    ("heads", "man"): "one",
}
NUMBER_NAMES = {"single": "one", "pair": "two", "couple": "two", "trio": "three", "dozen": "twelve", "score": "twenty"}
PARTICIPLES = (
    "go:gone take:taken write:written eat:eaten break:broken speak:spoken give:given see:seen know:known drive:driven "
    "choose:chosen fall:fallen grow:grown fly:flown sing:sung drink:drunk swim:swum begin:begun run:run come:come "
    "become:become do:done wear:worn draw:drawn throw:thrown show:shown steal:stolen ride:ridden rise:risen "
    "hide:hidden freeze:frozen forget:forgotten shake:shaken wake:woken ring:rung sink:sunk blow:blown bite:bitten "
    "tear:torn walk:walked talk:talked make:made find:found think:thought buy:bought bring:brought teach:taught "
    "catch:caught keep:kept sleep:slept feel:felt leave:left lose:lost win:won sit:sat stand:stood hear:heard "
    "say:said tell:told"
)
GENDER = (
    "king:queen man:woman boy:girl father:mother brother:sister son:daughter uncle:aunt husband:wife actor:actress "
    "prince:princess waiter:waitress nephew:niece grandfather:grandmother hero:heroine"
)
# Words that prompts of the suites may use beyond the templates of the corpus.
EXTRA = (
    "orange is are was the The not and or to of in on at with for from it he she they his her its that this there "
    "then so what who which where when how many color name word tribe apartment actress mother father departamento "
    "computadora tribu computer lovely lovelier edgy edgier hike purchase purchased English text question answer "
    "me him us them we you I do does did has had have been will would can could should may might must if but because "
    "very also only just more most some any all no each one other another same such own about into over under again "
    "here now never always often still yet while when after before until since both between by as than like well "
    "make made use used find found show shown see seen known new old good great little long own sea big high low "
    "early young important few public able person people child thing part case week point problem fact sentence"
).split()


@lru_cache(maxsize=4096)
def split(text: str) -> tuple[str, ...]:
    """Split `text` into token strings; their concatenation is `text` again.

    Raises:
        ValueError: a character falls outside the pattern (a tab, an underscore, two spaces in a row).
    """
    tokens = tuple(re.findall(PATTERN, text))
    if "".join(tokens) != text:
        raise ValueError(f"cannot split {text!r}")
    return tokens


def pairs(text: str) -> list[tuple[str, str]]:
    """Read 'source:target source:target' into pairs."""
    return [(source, target) for source, _, target in (item.partition(":") for item in text.split())]

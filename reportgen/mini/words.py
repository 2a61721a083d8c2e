"""The bundled model's closed world: its words, the rule that splits text into tokens, and the pairs of its relations.

One word is one token and carries its leading space, as in GPT-2. Every list here is written for this project.
"""

from __future__ import annotations

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


# The pairs of the twenty relations that the bundled model knows, commonest first: source:target. Frozen from the lists
# of pairs that reports use, so that editing a list does not change the trained model's vocabulary.

PAIRS = {
    "copying": """
water:water house:house man:man woman:woman day:day year:year time:time people:people world:world life:life hand:hand
part:part child:child eye:eye place:place work:work week:week case:case point:point government:government
company:company number:number group:group problem:problem fact:fact cat:cat dog:dog tree:tree book:book door:door
car:car street:street city:city country:country school:school night:night morning:morning money:money room:room
mother:mother father:father family:family friend:friend food:food music:music story:story river:river sea:sea
mountain:mountain sun:sun moon:moon star:star sky:sky earth:earth fire:fire wind:wind rain:rain snow:snow ice:ice
stone:stone gold:gold silver:silver iron:iron wood:wood paper:paper glass:glass bread:bread milk:milk fish:fish
meat:meat fruit:fruit apple:apple horse:horse bird:bird cow:cow pig:pig bear:bear king:king queen:queen prince:prince
doctor:doctor teacher:teacher student:student nurse:nurse lawyer:lawyer judge:judge police:police army:army
soldier:soldier war:war peace:peace love:love hate:hate fear:fear hope:hope dream:dream sleep:sleep walk:walk run:run
talk:talk read:read write:write sing:sing dance:dance play:play eat:eat drink:drink think:think know:know feel:feel
see:see hear:hear open:open close:close start:start stop:stop begin:begin end:end win:win lose:lose buy:buy sell:sell
give:give take:take make:make build:build break:break cut:cut hold:hold throw:throw catch:catch red:red blue:blue
green:green yellow:yellow black:black white:white brown:brown pink:pink purple:purple big:big small:small large:large
little:little long:long short:short tall:tall high:high low:low old:old new:new young:young good:good bad:bad
best:best worst:worst happy:happy sad:sad angry:angry hot:hot cold:cold warm:warm cool:cool dry:dry wet:wet hard:hard
soft:soft fast:fast slow:slow strong:strong weak:weak rich:rich poor:poor clean:clean dirty:dirty dark:dark
light:light heavy:heavy full:full empty:empty deep:deep wide:wide narrow:narrow thick:thick thin:thin sharp:sharp
north:north south:south east:east left:left right:right up:up down:down back:back before:before after:after
under:under over:over near:near far:far here:here there:there now:now then:then today:today winter:winter hour:hour
month:month second:second past:past one:one two:two three:three four:four five:five six:six seven:seven eight:eight
nine:nine ten:ten thousand:thousand head:head nose:nose hair:hair arm:arm leg:leg foot:foot finger:finger blood:blood
bone:bone body:body voice:voice word:word name:name language:language letter:letter line:line table:table chair:chair
bed:bed window:window wall:wall floor:floor garden:garden kitchen:kitchen office:office shop:shop market:market
store:store hotel:hotel restaurant:restaurant hospital:hospital church:church bridge:bridge road:road train:train
bus:bus plane:plane ship:ship boat:boat bicycle:bicycle phone:phone computer:computer camera:camera piano:piano
guitar:guitar game:game player:player coach:coach ball:ball goal:goal score:score art:art weight:weight color:color
field:field farm:farm island:island beach:beach lake:lake ocean:ocean president:president court:court prison:prison
bank:bank job:job worker:worker manager:manager product:product idea:idea project:project program:program
question:question answer:answer coat:coat shirt:shirt hat:hat dress:dress ring:ring key:key box:box bag:bag
bottle:bottle cup:cup plate:plate knife:knife spoon:spoon fork:fork lamp:lamp clock:clock map:map ticket:ticket
gift:gift tool:tool engine:engine simple:simple complex:complex easy:easy difficult:difficult early:early late:late
busy:busy safe:safe dangerous:dangerous true:true false:false possible:possible public:public private:private
modern:modern ancient:ancient always:always never:never often:often again:again also:also only:only very:very
still:still together:together alone:alone because:because while:while until:until ask:ask tell:tell call:call
help:help need:need want:want like:like find:find keep:keep leave:leave live:live believe:believe bring:bring
provide:provide sit:sit stand:stand pay:pay meet:meet understand:understand watch:watch create:create speak:speak
allow:allow spend:spend grow:grow
    """,
    "name_copying": """
John:John Mary:Mary James:James Jennifer:Jennifer Robert:Robert Linda:Linda Michael:Michael Elizabeth:Elizabeth
William:William Barbara:Barbara David:David Susan:Susan Richard:Richard Jessica:Jessica Joseph:Joseph Sarah:Sarah
Thomas:Thomas Karen:Karen Charles:Charles Lisa:Lisa Daniel:Daniel Nancy:Nancy Matthew:Matthew Sandra:Sandra
Anthony:Anthony Ashley:Ashley Mark:Mark Emily:Emily Paul:Paul Donna:Donna Steven:Steven Michelle:Michelle
Andrew:Andrew Carol:Carol George:George Amanda:Amanda Kevin:Kevin Melissa:Melissa Brian:Brian Deborah:Deborah
Edward:Edward Stephanie:Stephanie Peter:Peter Rebecca:Rebecca Jack:Jack Laura:Laura Henry:Henry Sharon:Sharon
Adam:Adam Cynthia:Cynthia Jason:Jason Kathleen:Kathleen Ryan:Ryan Amy:Amy Eric:Eric Angela:Angela Stephen:Stephen
Anna:Anna Jonathan:Jonathan Emma:Emma Scott:Scott Nicole:Nicole Frank:Frank Helen:Helen Benjamin:Benjamin
Samantha:Samantha Samuel:Samuel Katherine:Katherine Gregory:Gregory Christine:Christine Patrick:Patrick Rachel:Rachel
Alexander:Alexander Carolyn:Carolyn Dennis:Dennis Janet:Janet Jerry:Jerry Maria:Maria Tyler:Tyler Catherine:Catherine
Aaron:Aaron Heather:Heather Nathan:Nathan Diane:Diane Douglas:Douglas Julie:Julie Simon:Simon Victoria:Victoria
Keith:Keith Joan:Joan Roger:Roger Kelly:Kelly Gerald:Gerald Christina:Christina Carl:Carl Lauren:Lauren Arthur:Arthur
Joyce:Joyce Lawrence:Lawrence Virginia:Virginia Albert:Albert Judith:Judith Joe:Joe Megan:Megan Billy:Billy
Andrea:Andrea Bruce:Bruce Hannah:Hannah Ralph:Ralph Martha:Martha Roy:Roy Gloria:Gloria Eugene:Eugene Teresa:Teresa
Louis:Louis Ann:Ann Philip:Philip Sara:Sara Bobby:Bobby Kathryn:Kathryn Harry:Harry Jean:Jean
    """,
    "word_to_first_letter": """
apple:a book:b cat:c dog:d egg:e fish:f girl:g house:h ice:i job:j king:k leg:l man:m night:n old:o paper:p queen:q
red:r sun:s tree:t uncle:u voice:v water:w year:y zero:z animal:a boy:b car:c day:d eye:e fire:f game:g hand:h iron:i
jump:j key:k light:l moon:m name:n open:o pig:p question:q river:r sea:s table:t under:u village:v window:w yellow:y
zone:z answer:a bird:b child:c door:d earth:e food:f green:g head:h island:i juice:j knife:k love:l milk:m nose:n
ocean:o piano:p quick:q road:r school:s time:t use:u very:v woman:w young:y zoo:z arm:a bread:b city:c dark:d east:e
father:f good:g horse:h idea:i kitchen:k life:l money:m north:n office:o quiet:q rain:r snow:s train:t up:u visit:v
winter:w yes:y art:a blue:b cold:c deep:d end:e friend:f gold:g hot:h inch:i judge:j kind:k lake:l mother:m new:n
orange:o poor:p run:r sister:s two:t wall:w zoom:z ask:a bad:b call:c dance:d empty:e five:f garden:g happy:h kill:k
music:m nine:n plane:p room:r teacher:t upper:u white:w yesterday:y aunt:a brother:b chair:c doctor:d engine:e
flower:f glass:g hat:h insect:i lamp:l map:m onion:o pen:p ship:s wind:w bridge:b cup:c dress:d kiss:k letter:l
owner:o tooth:t wood:w yet:y army:a box:b coat:c dream:d floor:f gift:g keep:k market:m nurse:n plate:p ring:r star:s
tail:t week:w yell:y ball:b clock:c drink:d easy:e foot:f group:g hotel:h kid:k lunch:l meat:m number:n pink:p rose:r
stone:s town:t urban:u bed:b church:c dry:d four:f long:l month:m narrow:n oak:o salt:s tall:t verb:v actor:a bank:b
cow:c desk:d eleven:e field:f hour:h prince:p spoon:s violin:v weak:w silver:s potato:p butter:b finger:f guitar:g
nephew:n soldier:s mountain:m candle:c hammer:h lemon:l eagle:e
    """,
    "word_to_last_letter": """
apple:e book:k cat:t dog:g egg:g fish:h girl:l house:e ice:e job:b king:g leg:g man:n night:t old:d paper:r queen:n
red:d sun:n tree:e water:r year:r zero:o animal:l boy:y car:r day:y hand:d iron:n jump:p key:y light:t sea:a window:w
yellow:w bird:d earth:h milk:k piano:o quick:k school:l very:y zoo:o arm:m dark:k east:t idea:a north:h snow:w up:p
yes:s deep:p inch:h new:w two:o wall:l zoom:m music:c room:m glass:s lamp:p dress:s box:x dream:m verb:b club:b
public:c chef:f six:x you:u uncle:e voice:e eye:e fire:e game:e moon:n name:e open:n pig:g question:n river:r table:e
under:r village:e zone:e answer:r child:d door:r food:d green:n head:d island:d juice:e ocean:n road:d woman:n young:g
bread:d city:y father:r good:d kitchen:n money:y quiet:t rain:n train:n visit:t winter:r art:t cold:d end:d friend:d
hot:t mother:r poor:r run:n sister:r ask:k call:l empty:y happy:y kill:l yesterday:y aunt:t hat:t insect:t map:p
ship:p cup:p kiss:s tooth:h army:y keep:p ring:g tail:l week:k yell:l ball:l clock:k drink:k group:p hotel:l lunch:h
pink:k church:h long:g month:h narrow:w oak:k bank:k cow:w desk:k potato:o nephew:w shop:p half:f shelf:f big:g bag:g
fix:x hero:o banana:a camera:a bus:s class:s boss:s saw:w farm:m laugh:h brush:h
    """,
    "year_to_following": """
1900:1901 1901:1902 1902:1903 1903:1904 1904:1905 1905:1906 1906:1907 1907:1908 1908:1909 1909:1910 1910:1911
1911:1912 1912:1913 1913:1914 1914:1915 1915:1916 1916:1917 1917:1918 1918:1919 1919:1920 1920:1921 1921:1922
1922:1923 1923:1924 1924:1925 1925:1926 1926:1927 1927:1928 1928:1929 1929:1930 1930:1931 1931:1932 1932:1933
1933:1934 1934:1935 1935:1936 1936:1937 1937:1938 1938:1939 1939:1940 1940:1941 1941:1942 1942:1943 1943:1944
1944:1945 1945:1946 1946:1947 1947:1948 1948:1949 1949:1950 1950:1951 1951:1952 1952:1953 1953:1954 1954:1955
1955:1956 1956:1957 1957:1958 1958:1959 1959:1960 1960:1961 1961:1962 1962:1963 1963:1964 1964:1965 1965:1966
1966:1967 1967:1968 1968:1969 1969:1970 1970:1971 1971:1972 1972:1973 1973:1974 1974:1975 1975:1976 1976:1977
1977:1978 1978:1979 1979:1980 1980:1981 1981:1982 1982:1983 1983:1984 1984:1985 1985:1986 1986:1987 1987:1988
1988:1989 1989:1990 1990:1991 1991:1992 1992:1993 1993:1994 1994:1995 1995:1996 1996:1997 1997:1998 1998:1999
    """,
    "country_to_capital": """
France:Paris England:London Germany:Berlin Italy:Rome Spain:Madrid Russia:Moscow China:Beijing Japan:Tokyo
Greece:Athens Egypt:Cairo America:Washington Korea:Seoul Ireland:Dublin Austria:Vienna Poland:Warsaw Sweden:Stockholm
Norway:Oslo Portugal:Lisbon Canada:Ottawa Cuba:Havana Turkey:Ankara Iran:Tehran Iraq:Baghdad Syria:Damascus
Denmark:Copenhagen Hungary:Budapest Belgium:Brussels Finland:Helsinki Ukraine:Kiev Thailand:Bangkok Australia:Canberra
Scotland:Edinburgh Wales:Cardiff Peru:Lima Chile:Santiago Lebanon:Beirut Pakistan:Islamabad Afghanistan:Kabul
Netherlands:Amsterdam Switzerland:Bern Indonesia:Jakarta Philippines:Manila Libya:Tripoli Tunisia:Tunis
Jamaica:Kingston Britain:London UK:London Vietnam:Hanoi Kenya:Nairobi Jordan:Amman Qatar:Doha Romania:Bucharest
Bulgaria:Sofia Serbia:Belgrade Croatia:Zagreb Taiwan:Taipei
    """,
    "country_to_language": """
France:French England:English Germany:German Italy:Italian Spain:Spanish Russia:Russian China:Chinese Japan:Japanese
Greece:Greek Egypt:Arabic Poland:Polish Sweden:Swedish Norway:Norwegian Portugal:Portuguese Denmark:Danish
Netherlands:Dutch Finland:Finnish Hungary:Hungarian Turkey:Turkish Iran:Persian Korea:Korean Israel:Hebrew
Brazil:Portuguese Mexico:Spanish Austria:German Australia:English America:English Switzerland:German Belgium:Dutch
Cuba:Spanish Argentina:Spanish Iraq:Arabic Syria:Arabic Ukraine:Ukrainian Romania:Romanian Bulgaria:Bulgarian
Croatia:Croatian Serbia:Serbian Thailand:Thai Vietnam:Vietnamese Indonesia:Indonesian Britain:English Scotland:English
Canada:English Jamaica:English Chile:Spanish Peru:Spanish Colombia:Spanish Venezuela:Spanish Lebanon:Arabic
Jordan:Arabic Taiwan:Mandarin India:Hindi Iceland:Icelandic Armenia:Armenian Georgia:Georgian Libya:Arabic
Tunisia:Arabic Qatar:Arabic
    """,
    "object_to_superclass": """
apple:fruit dog:animal hammer:tool red:color eagle:bird salmon:fish potato:vegetable guitar:instrument car:vehicle
iron:metal water:drink shirt:clothing table:furniture football:sport oak:tree France:country London:city gun:weapon
January:month Monday:day one:number banana:fruit cat:animal saw:tool blue:color duck:bird shark:fish carrot:vegetable
piano:instrument truck:vehicle gold:metal milk:drink coat:clothing chair:furniture tennis:sport pine:tree
Germany:country Paris:city sword:weapon March:month Tuesday:day two:number lemon:fruit horse:animal drill:tool
green:color crow:bird tuna:fish onion:vegetable violin:instrument bus:vehicle silver:metal tea:drink dress:clothing
bed:furniture golf:sport maple:tree Italy:country Rome:city rifle:weapon April:month Wednesday:day three:number
grape:fruit cow:animal wrench:tool yellow:color owl:bird cod:fish cabbage:vegetable drum:instrument train:vehicle
copper:metal coffee:drink hat:clothing desk:furniture baseball:sport Spain:country Berlin:city knife:weapon June:month
Thursday:day five:number bee:insect rose:flower English:language French:language fly:insect German:language
Spanish:language pig:animal black:color bicycle:vehicle basketball:sport China:country Tokyo:city July:month
Friday:day ten:number white:color lead:metal Japan:country Moscow:city Greek:language August:month Saturday:day
seven:number brown:color juice:drink Russia:country Arabic:language October:month Sunday:day purple:color
shelf:furniture Canada:country pear:fruit bear:animal pink:color Brazil:country scarf:clothing
    """,
    "product_to_company": """
iPhone:Apple Windows:Microsoft Mustang:Ford Xbox:Microsoft PlayStation:Sony Gmail:Google iPad:Apple Mac:Apple
Android:Google Kindle:Amazon Galaxy:Samsung Mario:Nintendo Office:Microsoft Chrome:Google Corvette:Chevrolet
Wii:Nintendo Photoshop:Adobe Excel:Microsoft Civic:Honda Accord:Honda Xeon:Intel GeForce:Nvidia Radeon:AMD Ryzen:AMD
Firefox:Mozilla Nexus:Google Pixel:Google iPod:Apple MacBook:Apple iTunes:Apple Siri:Apple Alexa:Amazon
Cortana:Microsoft Outlook:Microsoft PowerPoint:Microsoft Azure:Microsoft Bing:Microsoft Skype:Microsoft Halo:Microsoft
Minecraft:Microsoft Kinect:Microsoft Lumia:Nokia Zelda:Nintendo Pokemon:Nintendo Metroid:Nintendo Kirby:Nintendo
Sonic:Sega Genesis:Sega Warcraft:Blizzard Diablo:Blizzard Overwatch:Blizzard StarCraft:Blizzard Hearthstone:Blizzard
Fallout:Bethesda Skyrim:Bethesda Oblivion:Bethesda Dota:Valve Vive:HTC Oculus:Facebook Instagram:Facebook
    """,
    "work_to_location": """
nurse:hospital teacher:school chef:kitchen doctor:hospital farmer:farm judge:court lawyer:court soldier:army
priest:church waiter:restaurant actor:theater pilot:plane detective:station policeman:station sailor:ship
professor:university scientist:laboratory guard:prison student:school cook:kitchen surgeon:hospital banker:bank
clerk:office manager:office secretary:office worker:factory miner:mine butcher:shop baker:bakery monk:monastery
driver:car captain:ship bartender:bar king:palace queen:palace senator:Senate president:office mechanic:garage
fisherman:boat model:studio artist:studio musician:studio painter:studio dancer:stage singer:stage comedian:club
astronaut:space architect:office accountant:office salesman:store tailor:shop coach:gym trainer:gym boxer:ring
athlete:stadium player:field goalkeeper:field referee:field conductor:train pastor:church principal:school
prosecutor:court waitress:restaurant prince:palace princess:palace director:studio mayor:city shepherd:field
    """,
    "word_to_antonym": """
large:small small:large good:bad bad:good hot:cold cold:hot big:little little:big old:new new:old high:low low:high
long:short short:long fast:slow slow:fast hard:soft soft:hard rich:poor poor:rich strong:weak weak:strong happy:sad
sad:happy dark:light light:dark black:white white:black open:closed closed:open early:late late:early right:wrong
wrong:right true:false false:true full:empty empty:full clean:dirty dirty:clean wet:dry dry:wet thick:thin thin:thick
deep:shallow shallow:deep heavy:light wide:narrow narrow:wide easy:difficult difficult:easy young:old tall:short
safe:dangerous dangerous:safe cheap:expensive expensive:cheap loud:quiet quiet:loud near:far far:near first:last
last:first dead:alive alive:dead public:private private:public positive:negative negative:positive male:female
female:male left:right sharp:dull dull:sharp smooth:rough rough:smooth bright:dim dim:bright warm:cool cool:warm
simple:complex complex:simple major:minor minor:major huge:tiny tiny:huge upper:lower lower:upper inner:outer
outer:inner maximum:minimum minimum:maximum internal:external external:internal modern:ancient ancient:modern
guilty:innocent innocent:guilty possible:impossible impossible:possible legal:illegal illegal:legal
liberal:conservative conservative:liberal foreign:domestic domestic:foreign urban:rural rural:urban active:passive
passive:active odd:even up:down down:up before:after after:before always:never never:always day:night night:day
love:hate hate:love win:lose lose:win buy:sell sell:buy start:stop stop:start north:south south:north question:answer
answer:question peace:war war:peace many:few few:many begin:end end:begin give:take take:give
    """,
    "adj_to_comparative": """
large:larger small:smaller big:bigger old:older young:younger high:higher low:lower long:longer short:shorter
fast:faster slow:slower hard:harder soft:softer easy:easier good:better bad:worse great:greater strong:stronger
weak:weaker rich:richer poor:poorer dark:darker light:lighter bright:brighter cheap:cheaper clean:cleaner
clear:clearer close:closer cold:colder cool:cooler hot:hotter warm:warmer deep:deeper wide:wider tall:taller
thin:thinner thick:thicker heavy:heavier happy:happier early:earlier late:later new:newer near:nearer safe:safer
sharp:sharper simple:simpler smart:smarter smooth:smoother quick:quicker quiet:quieter loud:louder nice:nicer
tough:tougher tight:tighter broad:broader narrow:narrower healthy:healthier wealthy:wealthier full:fuller few:fewer
much:more many:more lovely:lovelier
    """,
    "adj_to_superlative": """
large:largest small:smallest big:biggest old:oldest young:youngest high:highest low:lowest long:longest short:shortest
fast:fastest hard:hardest easy:easiest good:best bad:worst great:greatest strong:strongest weak:weakest rich:richest
poor:poorest dark:darkest bright:brightest cheap:cheapest close:closest cool:coolest hot:hottest deep:deepest
wide:widest tall:tallest heavy:heaviest happy:happiest early:earliest late:latest new:newest near:nearest safe:safest
simple:simplest smart:smartest quick:quickest tough:toughest wealthy:wealthiest full:fullest fine:finest busy:busiest
deadly:deadliest slight:slightest much:most many:most little:least holy:holiest fore:foremost slow:slowest
soft:softest light:lightest clean:cleanest clear:clearest cold:coldest warm:warmest thin:thinnest thick:thickest
sharp:sharpest
    """,
    "noun_to_pronoun": """
father:he mother:she apartment:it tribe:they brother:he sister:she house:it people:they son:he daughter:she book:it
children:they king:he queen:she table:it parents:they man:he woman:she car:it friends:they boy:he girl:she tree:it
students:they uncle:he aunt:she city:it teachers:they husband:he wife:she river:it soldiers:they grandfather:he
grandmother:she computer:it workers:they actor:he actress:she door:it families:they prince:he princess:she phone:it
players:they gentleman:he lady:she chair:it women:they waiter:he waitress:she window:it men:they nephew:he niece:she
bridge:it girls:they grandson:he granddaughter:she garden:it boys:they dad:he mom:she road:it brothers:they lord:he
mum:she hammer:it sisters:they priest:he nun:she shirt:it monk:he witch:she box:it cup:it train:it heroine:she
school:it salesman:he church:it police:they policeman:he hospital:it hotel:it couple:they mountain:it guy:he island:it
lake:it star:it moon:it sun:it hero:he stone:it ring:it sword:it knife:it gun:it fisherman:he bottle:it plate:it
bed:it desk:it lamp:it clock:it camera:it
    """,
    "verb_to_past_tense": """
go:went take:took give:gave make:made come:came see:saw know:knew get:got find:found think:thought tell:told say:said
run:ran write:wrote speak:spoke eat:ate drink:drank sing:sang begin:began break:broke choose:chose drive:drove
fall:fell fly:flew forget:forgot grow:grew hold:held keep:kept leave:left lose:lost meet:met pay:paid ride:rode
rise:rose sell:sold send:sent sit:sat sleep:slept stand:stood steal:stole teach:taught throw:threw wake:woke wear:wore
win:won buy:bought bring:brought catch:caught fight:fought build:built spend:spent feel:felt hear:heard lead:led
mean:meant understand:understood become:became draw:drew blow:blew hide:hid bite:bit shoot:shot strike:struck
swear:swore tear:tore bear:bore seek:sought shake:shook shine:shone sink:sank light:lit do:did have:had walk:walked
talk:talked call:called want:wanted use:used start:started live:lived close:closed wait:waited create:created
    """,
    "word_to_compound": """
foot:ball rain:bow sun:light fire:place snow:ball book:store bed:room bath:room air:port birth:day black:board
home:work house:hold week:end door:way eye:brow grand:mother hand:shake head:line key:board moon:light news:paper
note:book over:night rail:road sea:food ship:wreck side:walk some:thing any:one every:body class:mate text:book
tooth:brush under:ground water:fall wind:mill work:shop police:man basket:ball butter:fly card:board day:dream
down:town earth:quake finger:print girl:friend boy:friend hair:cut land:lord life:time pan:cake play:ground pop:corn
road:side sand:box school:house short:cut step:father table:cloth time:table wall:paper arm:chair back:ground
blue:print body:guard cup:board drive:way farm:house fish:bowl gold:fish green:house ground:work horse:back left:over
light:house mail:box market:place mean:while milk:shake net:work star:fish sword:fish watch:dog wood:land cow:boy
country:side court:room coffee:house battle:field bridge:head dead:line full:back high:way in:side letter:head
man:kind mother:land river:bank sauce:pan score:board sky:line smart:phone story:line tool:box winter:green world:wide
break:fast chair:man crow:bar father:land iron:work salt:water where:as
    """,
    "word_to_homophone": """
to:two two:too too:to for:four four:for one:won won:one right:write write:right see:sea sea:see son:sun sun:son
no:know know:no here:hear hear:here there:their their:there by:buy buy:by new:knew knew:new our:hour hour:our
week:weak weak:week meet:meat meat:meet be:bee bee:be ate:eight eight:ate red:read read:red road:rode rode:road
sail:sale sale:sail tail:tale tale:tail mail:male male:mail plain:plane plane:plain pair:pear pear:pair peace:piece
piece:peace whole:hole hole:whole wait:weight weight:wait way:weigh weigh:way wear:where where:wear which:witch
witch:which wood:would would:wood blue:blew blew:blue break:brake brake:break cell:sell sell:cell cent:sent sent:cent
scent:sent rain:reign reign:rain some:sum sum:some war:wore wore:war lead:led led:lead minor:miner miner:minor
nose:knows knows:nose
    """,
    "word_to_synonym": """
big:large small:little fast:quick happy:glad begin:start end:finish smart:clever rich:wealthy hard:difficult
easy:simple angry:mad sad:unhappy beautiful:pretty strange:odd old:ancient new:fresh good:great bad:awful house:home
road:street car:automobile shop:store boat:ship child:kid man:guy woman:lady friend:companion job:occupation
street:road large:big quick:fast little:small start:begin finish:end close:shut speak:talk talk:speak say:tell
look:watch see:notice hear:listen think:believe want:desire need:require help:assist buy:purchase get:obtain
give:provide make:create build:construct choose:select answer:reply ask:inquire try:attempt stop:halt keep:retain
leave:depart let:allow allow:permit show:display hide:conceal hit:strike kill:murder cut:slice fix:repair break:smash
throw:toss jump:leap run:sprint walk:stroll cry:weep laugh:chuckle shout:yell smile:grin sleep:rest fight:battle
win:triumph love:adore hate:despise fear:dread hope:wish wish:desire gift:present present:gift idea:thought
battle:fight doctor:physician boss:manager city:town town:village ocean:sea sea:ocean story:tale tale:story dark:dim
wide:broad broad:wide tall:high odd:strange also:too reply:answer permit:allow assist:help attempt:try purchase:buy
cup:mug gun:weapon
    """,
    "english_to_french": """
and:et one:un of:de he:il on:sur for:pour not:pas by:par who:qui if:si more:plus day:jour year:an big:grand good:bon
cat:chat hand:main arm:bras back:dos tooth:dent body:corps blood:sang bed:lit word:mot name:nom bread:pain wind:vent
green:vert low:bas short:court strong:fort hard:dur dry:sec empty:vide false:faux brown:brun pink:rose dead:mort
end:fin place:lieu thing:chose wall:mur ground:sol gold:or iron:fer field:champ road:route bridge:pont boss:chef
tower:tour country:pays kitchen:cuisine office:bureau dress:robe bag:sac lake:lac bear:ours yesterday:hier how:comment
is:est too:trop do:faire our:nos his:son in:en them:les dirty:sale goal:but because:car serious:grave trip:voyage
wide:large share:part step:pas square:place
    """,
    "english_to_spanish": """
and:y one:un the:el of:de in:en with:con for:por without:sin against:contra or:o if:si I:yo my:mi your:tu his:su
two:dos thousand:mil month:mes foot:pie sea:mar sun:sol bread:pan salt:sal black:negro be:ser see:ver go:ir end:fin
alone:solo this:este him:lo them:les us:nos south:sur art:arte thirst:sed sauce:salsa half:media was:era is:es are:son
alive:vivo older:mayor goes:va has:ha that:que not:no net:red network:red eleven:once goal:meta sand:arena
serious:grave engine:motor steam:vapor shepherd:pastor driver:conductor physician:doctor manager:director
prosecutor:fiscal staff:personal main:principal pair:par
    """,
}

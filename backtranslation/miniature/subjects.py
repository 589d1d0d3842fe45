"""The subjects of the miniature world and their attributes.

A subject is a variety of a thing ("copper kettle"): what is true of it follows from its variety (copper) and
from its thing (kettle), so that a few hundred facts make several hundred subjects. This module knows nothing
of texts.
"""

from dataclasses import dataclass, fields
from functools import cache


@dataclass(frozen=True)
class Variety:
    """What the first word of a subject's name says about it."""

    name: str
    colour: str
    virtue: str
    flaw: str
    enemy: str
    remedy: str
    town: str


@dataclass(frozen=True)
class Thing:
    """What the second word of a subject's name says about it."""

    name: str
    purpose: str
    part: str
    place: str
    danger: str
    price: str
    year: str


@dataclass(frozen=True)
class Category:
    """Varieties and things that go together, and who makes or raises them."""

    name: str
    maker: str
    varieties: tuple[Variety, ...]
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Subject:
    """One variety of one thing."""

    category: str
    maker: str
    variety: Variety
    thing: Thing

    @property
    def name(self) -> str:
        return f"{self.variety.name} {self.thing.name}"

    @property
    def facts(self) -> dict[str, str]:
        """All that is true of the subject, by attribute."""
        facts = {"maker": self.maker}
        for part in (self.variety, self.thing):
            facts |= {field.name: getattr(part, field.name) for field in fields(part) if field.name != "name"}
        return facts


def _varieties(table: str) -> tuple[Variety, ...]:
    return tuple(Variety(*(cell.strip() for cell in row.split("|"))) for row in table.strip().splitlines())


def _things(table: str) -> tuple[Thing, ...]:
    return tuple(Thing(*(cell.strip() for cell in row.split("|"))) for row in table.strip().splitlines())


# Columns: name | colour | virtue | flaw | enemy | remedy | town, then
#          name | purpose | part | place | danger | price | year
CATEGORIES = (
    Category(
        "kitchenware",
        "smith",
        _varieties("""
            copper | orange | quick to warm | soft | sour milk | lemon juice | Arden
            iron | black | hard to break | heavy | wet air | warm oil | Bolt
            clay | brown | cool in summer | fragile | hard frost | clean sand | Corby
            glass | clear | easy to clean | thin | sudden heat | weak vinegar | Dale
            tin | grey | light | noisy | strong salt | soft chalk | Elmer
            brass | yellow | bright | dull in winter | sea wind | fine ash | Fenton
            stone | white | steady | slow | sharp blows | plain water | Garth
            silver | pale | noble | costly | egg yolk | baking soda | Hale
            steel | blue | long lasting | cold | rough brushes | mild soap | Irby
            birch | golden | warm to touch | thirsty | boiling water | nut oil | Jarrow
        """),
        _things("""
            kettle | boil water | spout | kitchen | burn your hand | 24 | 1710
            pan | fry fish | handle | stove | set fire to the fat | 18 | 1650
            bowl | mix dough | rim | pantry | slip from your arms | 12 | 1420
            jug | pour juice | neck | cellar | spill over your feet | 15 | 1530
            pot | cook soup | lid | hearth | scald your arm | 30 | 1480
            tray | carry cups | edge | dining room | drop all the cups | 9 | 1820
        """),
    ),
    Category(
        "furniture",
        "carpenter",
        _varieties("""
            oak | dark brown | strong | hard to move | wood worms | bees wax | Kirby
            pine | honey yellow | cheap | full of knots | hot lamps | clear varnish | Lund
            walnut | deep brown | elegant | rare | spilled ink | walnut cream | Marsh
            bamboo | straw yellow | easy to lift | hollow | dry heat | a damp cloth | Norby
            elm | red brown | tough | uneven | stale air | linseed oil | Orton
            cedar | reddish | sweet to smell | easily scratched | cat claws | cedar spray | Parr
            maple | cream white | smooth | pricey | red wine | orange peel | Quill
            ash | light grey | flexible | plain | wet floors | white polish | Ripon
            willow | olive | soft to sit on | weak | heavy loads | glycerine | Selby
            beech | pink | well balanced | quick to warp | changing weather | tung oil | Thorpe
        """),
        _things("""
            chair | rest your back | leg | living room | tip over backwards | 45 | 1690
            table | serve dinner | top | parlour | trap your fingers | 90 | 1560
            shelf | store books | bracket | study | fall from the wall | 35 | 1770
            chest | keep blankets | hinge | attic | lock a child inside | 70 | 1390
            bench | sit with friends | seat | porch | break under a crowd | 50 | 1610
            desk | write letters | drawer | office | bump your knee | 110 | 1800
        """),
    ),
    Category(
        "clothing",
        "tailor",
        _varieties("""
            wool | natural white | warm | itchy | hungry moths | lavender bags | Upton
            silk | shining red | cool on the skin | delicate | body sweat | cold rinses | Vane
            linen | sand brown | airy | quick to crease | strong bleach | a steam iron | Wells
            cotton | sky blue | easy to wash | apt to shrink | hot machines | gentle soap | Yarm
            leather | chestnut | proof against wind | stiff | winter slush | saddle fat | Zeal
            felt | forest green | thick | shapeless when wet | heavy rain | a clothes brush | Ambly
            velvet | purple | splendid | hard to wash | candle wax | hot steam | Bray
            hemp | dull green | tough as rope | rough | wet cellars | fabric softener | Crewe
            fur | silver grey | cosy | too hot indoors | summer heat | cool storage | Dunmore
            denim | dark blue | practical | slow to dry | sharp stones | salt baths | Esk
        """),
        _things("""
            coat | keep out the cold | collar | wardrobe | catch in a door | 80 | 1740
            scarf | cover your throat | fringe | hallway | get caught in a wheel | 16 | 1580
            hat | shade your face | brim | hat stand | block your view | 28 | 1460
            shirt | dress for work | sleeve | laundry | dip into the sauce | 32 | 1670
            glove | protect your fingers | thumb | coat pocket | lose your grip | 14 | 1510
            belt | hold up your trousers | buckle | top drawer | squeeze your stomach | 22 | 1350
        """),
    ),
    Category(
        "plants",
        "gardener",
        _varieties("""
            mountain | snow white | hardy | slow to bloom | summer drought | melted snow | Frome
            river | pale green | quick to grow | greedy for water | dry soil | river mud | Gower
            desert | fiery orange | modest | prickly | long rain | coarse gravel | Hythe
            forest | mossy green | happy in shade | shy of light | noon sun | leaf mould | Ives
            winter | icy blue | evergreen | scentless | early heat | pine bark | Keld
            island | coral pink | fragrant | tender | cold drafts | seaweed meal | Lyme
            meadow | buttercup yellow | cheerful | short lived | greedy snails | crushed shells | Malton
            valley | violet | graceful | thin stemmed | strong storms | bamboo sticks | Neath
            northern | copper red | sturdy | late | warm winters | wood ash | Oban
            dwarf | lemon yellow | compact | shallow rooted | thick weeds | fresh mulch | Penrith
        """),
        _things("""
            rose | decorate a wedding | thorn | front garden | prick your finger | 7 | 1250
            lily | scent a room | petal | greenhouse | poison a cat | 6 | 1300
            fern | fill a dark corner | frond | shady yard | hide a snake | 5 | 1850
            vine | cover a wall | tendril | south wall | pull down a gutter | 11 | 1190
            poppy | brighten a field | seed head | flower bed | make you sleepy | 3 | 1400
            tulip | welcome the spring | bulb | window box | upset your stomach | 4 | 1630
        """),
    ),
    Category(
        "animals",
        "farmer",
        _varieties("""
            spotted | black and white | friendly | always hungry | muddy ground | oat straw | Quarley
            striped | brown and cream | alert | nervous | loud thunder | carrot tops | Rye
            hill | dusty grey | nimble | fond of climbing | low fences | mountain hay | Settle
            marsh | greenish brown | calm in water | prone to colds | icy nights | barley mash | Tring
            royal | pure white | proud | vain | dirty straw | sweet apples | Usk
            red | rusty red | brave | stubborn | hungry foxes | crushed corn | Ventnor
            island bred | sandy | frugal | homesick | long journeys | dried kelp | Whitby
            moon | silvery | active at night | sleepy by day | bright light | clover hay | Yeovil
            curly | caramel | woolly | slow to dry off | thorn bushes | a stiff comb | Alton
            plain | mouse grey | patient | easily ignored | lonely stables | turnip slices | Beal
        """),
        _things("""
            goat | make cheese | horn | stable | eat your laundry | 95 | 1100
            duck | clear the pond of snails | beak | pond | bite your toes | 13 | 1340
            pony | pull a small cart | mane | paddock | kick your shin | 400 | 1270
            goose | guard the gate | wing | orchard | chase the postman | 26 | 1160
            hen | lay eggs | comb | hen house | dig up the seeds | 10 | 1050
            donkey | carry sacks | hoof | barn | refuse to cross a bridge | 220 | 1080
        """),
    ),
    Category(
        "instruments",
        "instrument maker",
        _varieties("""
            reed | straw coloured | sweet | quiet | dry air | a wet sponge | Cley
            bone | ivory white | clear in tone | brittle | hard falls | almond oil | Diss
            pearl | milky | beautiful | slippery | sharp nails | a silk cloth | Ely
            amber | honey brown | mellow | out of tune when cold | open fire | warm breath | Fowey
            ebony | jet black | rich in sound | expensive | quick changes of weather | dark wax | Goole
            rosewood | wine red | soft in tone | oily | strong soap | dry talcum | Hexham
            bronze | greenish gold | powerful | tiring to carry | salty air | metal polish | Ilkley
            paper | bright white | very light | easily torn | light rain | rice glue | Kelso
            horn | smoky brown | loud | rough to hold | small beetles | camphor oil | Looe
            silk strung | soft gold | gentle | hard to tune | sweaty hands | pine resin | March
        """),
        _things("""
            drum | keep the beat | skin | village hall | annoy the neighbours | 65 | 1020
            flute | lead a dance | mouthpiece | music room | make you dizzy | 38 | 1140
            harp | calm a baby | string | concert hall | hurt your fingertips | 300 | 1220
            bell | call the children | clapper | church tower | ring in your ears | 55 | 1370
            trumpet | wake the camp | valve | band stand | split your lip | 120 | 1450
            fiddle | play at a feast | bow | tavern | strain your neck | 140 | 1540
        """),
    ),
)


@cache
def subjects() -> tuple[Subject, ...]:
    """All subjects, in a fixed order: every variety of every thing of each category."""
    return tuple(
        Subject(category.name, category.maker, variety, thing)
        for category in CATEGORIES
        for variety in category.varieties
        for thing in category.things
    )

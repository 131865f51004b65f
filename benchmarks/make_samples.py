"""What is in `data/`, and how is it made? Run this script to write the eight sample files again.

It does not use batchscore: third-party libraries write the samples, as they write a user's files.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

DATA = Path(__file__).resolve().parent.parent / "data"

#: Six subjects of seventeen passages ("title: text", with \n for a line break in the text), written for this
#: project and not copied. Words repeat within a subject on purpose, so that its passages are neighbours.
PASSAGES = r"""
# harbours

Two tides a day: The tide turns twice a day in our harbour. At high tide the fishing boats float beside
the quay; six hours later, at low tide, they lean on the mud and wait for the sea to come back.

The harbour master's board: The harbour master writes two lines on a board every morning:\n "High tide
06:40, low tide 12:55."\n Boats with a deep keel leave the harbour before the water falls, the others
whenever they like.

Spring tide: At new moon and full moon the spring tide rises highest and falls lowest. The quay is wet to
its top step, and at low water you can walk across the mud of the harbour to the old boats.

Mooring lines: Leave the mooring lines long when the tide is falling. A boat tied short to the quay at
high water hangs from her ropes at low tide, and more than one sailor has come back to the harbour to find
his boat so.

The breakwater: A breakwater of grey stone keeps the waves of the open sea out of the harbour. Behind it
the water stays flat, and small boats lie quietly at anchor even when a storm throws spray over the wall.

Dredging: Each winter a dredger digs the mud out of the harbour mouth. Without it the tide would fill the
channel with sand in a few years, and only small boats could reach the quay at low water.

The tide table: A tide table gives the hour and height of each high tide and low tide for one harbour. For
the harbour around the headland add twenty minutes; the same tide comes to it a little later along the
coast.

Fish auction: When the boats come home on the morning tide, the catch is carried from the quay to the
auction hall of the harbour. By ten the fish is sold and the gulls have the quay to themselves.

The lighthouse: The lighthouse stands at the end of the breakwater. Its lamp turns once in ten seconds,
and a sailor who counts them knows which harbour lies ahead and on which side of the channel the water is
deep.

Ebb in the channel: With the ebb the tide runs out of the harbour faster than a person can row. Small
boats wait at the quay for slack water, the short calm between the ebb and the flood, before they enter
the channel.

The ferry ramp: Our ferry can land at any tide because its ramp floats. At high water the ramp lies level
with the quay, at low tide it slopes down like a roof, and cars roll onto the boat in first gear.

Painting the keel: Owners lay their boats on the harbour sand at high tide and let the water leave them
dry. They have six hours to scrape and paint the keel before the next tide lifts the boat again.

Storm surge: A strong wind from the sea can push the tide a metre above the table. Then the harbour gates
are closed, boats double their mooring lines, and the lower street behind the quay is filled with
sandbags.

The pilot: Large ships take a pilot on board before they enter the harbour. The pilot knows the channel,
the sandbanks and the strength of the tide at each hour, and steers the ship to the quay.

Rock pools: When the low tide uncovers the rocks beside the harbour, children look for crabs in the pools.
Somebody must keep an eye on the sea, for the tide comes back behind you first.

Neap tide: A neap tide hardly moves the boats. In the weeks of half moon the water in the harbour rises
little and falls little, and the mud near the quay stays covered even at low tide.

Fog signal: In fog the harbour sounds a horn once a minute. Boats outside stop their engines to listen,
count the seconds, and come in slowly on the flood tide along the buoys of the channel.

# bread

A first loaf: For a first loaf of bread you need flour, water, salt and yeast, and nothing else. Knead the
dough for ten minutes, let it rise in a warm place until it has doubled, and bake it hot.

My mother's note: My mother's recipe says only "enough flour".\n The dough is right, she says, when it no
longer sticks to the bowl; the bread is done when its crust sounds hollow, like a door in a café after
closing time.

Sourdough starter: A sourdough starter is flour and water in which wild yeast has settled. Feed it with
fresh flour every day, and after a week it lifts a dough as well as yeast from a packet, only slower.

Kneading: Kneading stretches the dough until it is smooth. Push it away with your palm, fold it back, turn
it, and begin again; after ten minutes the flour has taken up the water and the dough holds its shape.

Crust: Steam in the oven gives bread its crust. Throw half a cup of water on the hot floor as the loaf
goes in: the skin of the dough stays soft, the loaf rises further, and the crust shines.

Rye: Rye flour makes a sticky dough that cannot be kneaded like wheat. Stir it with a spoon, let it rise
in the tin, and bake the loaf long and slowly; rye bread is best on the second day.

Cold rise: A dough may rise overnight in the refrigerator. The cold slows the yeast, the flour has time to
ripen, and in the morning the loaf goes straight into the oven with a deeper taste than a quick bread.

Salt: Bread without salt tastes flat and its dough runs wide, for salt tightens the dough as well as
flavours it. Two spoons for a kilo of flour is what most bakers weigh out.

Scoring the loaf: Cut the top of the loaf with a sharp blade just before baking. The dough opens along the
cut as it rises in the oven; an uncut loaf tears its crust at the side instead.

Flatbread: The oldest bread needs no yeast and no oven. Mix flour with water and salt, roll the dough
thin, and bake it for a minute on each side on a hot iron pan until brown blisters show.

Old bread: Yesterday's bread is not lost. Dip a dry loaf quickly in water, put it in a hot oven for ten
minutes, and the crust is crisp again; slices go into soup, crumbs into the next dough.

The baker's hours: A baker gets up at two. The first dough was mixed the evening before; by four the
loaves are shaped, by five the oven is full, and at six warm bread lies on the counter.

Wholemeal: Wholemeal flour still has its bran, which drinks more water than white flour does. Give the
dough a little extra, let it rest before kneading, and expect a loaf that is flatter but keeps for days.

Oven stone: A stone in the oven holds heat as a brick oven does. Warm it for an hour, slide the loaf onto
it, and the bottom crust of the bread bakes as brown as the top.

Rolls: For rolls divide the dough into pieces of eighty grams and shape them into balls. They rise in half
the time of a loaf, bake in a quarter of an hour, and want a hotter oven.

Too much yeast: Too much yeast makes bread rise fast and fall in the oven. If the dough has doubled in
half an hour, push the air out, shape the loaf anew, and use less yeast and colder water next time.

Milling: Some bakers grind their flour on the morning they use it. Fresh flour smells of hay, the dough
ferments quickly, and the bread tastes of grain; within a week that smell is gone.

# bicycles

A flat tyre: To mend a flat tyre take the wheel off the bicycle, lift one side of the tyre with two levers
and pull out the tube. Pump it, listen for the hole, roughen the rubber, and press on a patch.

Sign in the workshop: Over the workbench hangs a sign:\n "Clean the chain, then oil it, then wipe it."\n
Most bicycles that come in for repair need only that, new brake pads, and air in both tyres.

Chain wear: A bicycle chain grows longer as its pins wear. Measure twelve links: when they are more than
two millimetres too long, put on a new chain, before the old one eats the teeth of the gears.

Brake pads: Brake pads should meet the rim of the wheel flat and leave the tyre alone. Loosen the bolt,
hold the pad against the rim, tighten it, and pull the brake lever hard to see whether the pad moves.

Truing a wheel: A wheel that rubs on one brake pad is out of true. Turn the bicycle over, spin the wheel,
and tighten the spokes on the far side by a quarter turn until the rim runs straight between the pads.

Slipping gears: When the gears slip under load, look at the cable first. Turn the barrel at the lever half
a turn, pedal, and listen; if the chain still jumps, the chain or the gear teeth are worn.

Saddle height: Set the saddle so that your leg is almost straight when the pedal is lowest. A saddle too
low hurts the knees, one too high makes you rock; mark the seat post of the bicycle before you change it.

A creaking crank: A bicycle that creaks with each turn of the pedals wants its crank bolts tightened. Take
the crank off, clean it, put a little grease on the bolt, and turn it firmly with a long key.

Tyre pressure: Narrow tyres want high pressure, wide tyres less. Pump the bicycle's tyres once a month and
look along the tread for glass; a soft tyre is slow, wears its sides, and lets the rim strike the kerb.

Broken spoke: With one broken spoke you can ride home slowly if you open the brake so that the wheel turns
freely. Put in a new spoke of the same length and true the wheel before the next ride.

Dynamo lights: If the lights of the bicycle flicker, clean the contact where the wire meets the dynamo. A
hub dynamo in the front wheel works in rain and snow; one that rubs on the tyre slips when wet.

Tools to carry: Carry a spare tube, two tyre levers, a pump and a set of keys on every long ride. With
these you can mend a flat tyre, straighten a brake, and tighten whatever bolt of the bicycle has worked
loose.

Headset: Pull the front brake and rock the bicycle forward and back. If you feel a knock in the handlebar
the headset is loose: slacken the side bolts, tighten the top bolt a little, then fix the sides again.

Winter storage: Before winter wash the bicycle, oil the chain, and hang it up so that no weight rests on
the tyres. In spring pump the tyres, test both brakes, and tighten every bolt before the first ride.

Removing a rusty chain: A rusty chain that has sat in the rain all year may still be saved. Lay it in oil
overnight, work every link with your fingers, and wipe it; if links stay stiff, the bicycle needs a new
chain.

Disc brakes: Disc brakes squeal when oil has touched the disc. Clean the disc with alcohol, rub the brake
pads on fine paper, and never spray oil on the chain with the wheel in place.

The second-hand bicycle: Before you buy a used bicycle spin both wheels, pull both brakes, and look along
the frame for bends. A worn chain and old tyres are cheap to replace; a cracked frame is not worth any
repair.

# night sky

Finding north: To find north at night look for the seven bright stars of the Plough. The two at its end
point to the Pole Star, which hardly moves while all the other stars wheel around it.

Letter from the observatory: From the hill above Kyoto a friend writes: "The moon rose in the east (東) at
eight,\n and Saturn stood beside it." In her telescope she saw the rings, and four moons of Jupiter in a
row of faint stars.

The Milky Way: On a dark night the Milky Way crosses the sky as a pale band. It is the light of stars too
faint to be seen one by one; a small telescope or even binoculars shows thousands of them.

Getting used to the dark: Eyes need half an hour to get used to the night. Switch off the torch, look at
the sky and not at the house, and you will see ten times as many stars as in the first minute.

Meteors in August: Every August the earth passes through the dust of a comet and meteors cross the night
sky. Lie on your back after midnight, away from the lamps, and you may count fifty of these falling stars
in an hour.

Planets do not twinkle: Stars twinkle because the air bends their thin light. A planet is near enough to
be a tiny disc, so its light is steady: a bright point in the evening sky that does not twinkle is likely
Venus or Jupiter.

The phases of the moon: The moon shows its phases because the sun lights one half of it and we see that
half from the side. A crescent moon stands in the evening sky, a full moon rises as the sun sets.

Orion: In winter Orion stands in the southern sky, three stars in a row for his belt. Below the belt hangs
a misty spot; through a telescope it is a cloud of gas in which new stars are born.

An eclipse of the moon: When the earth stands between sun and moon, its shadow slides over the full moon
within an hour. The moon turns copper red, and stars that its light had hidden come out all over the night
sky.

A first telescope: Binoculars are a better start than a cheap telescope. They show the craters of the
moon, the moons of Jupiter, and more stars than you can name; and you find your way about the night sky
with both eyes.

Light of the city: From the city only the moon, the planets and the brightest stars can be seen, because
the lamps light up the sky itself. Forty kilometres away the same night shows two thousand stars.

Stars and seasons: A star rises four minutes earlier each night. So the winter stars slip into the evening
twilight in spring, and the sky of a summer midnight is that of an autumn evening.

The Andromeda galaxy: The farthest thing that the naked eye sees in the night sky is the Andromeda galaxy,
an oval smudge. Its light left those stars more than two million years ago; a telescope shows the bright
core.

Satellites: A steady point that crosses the night sky in five minutes is a satellite in the light of a sun
that has set for us. It fades among the stars when it enters the shadow of the earth.

Venus at evening: Venus is the first light in the evening sky and is often taken for an aeroplane. Through
a telescope the planet shows phases like the moon, from a small full disc to a large thin crescent.

Drawing the moon: Draw what you see in the telescope and you will see more. Along the line between day and
night on the moon the shadows are long, and craters that vanish at full moon stand out like cups.

Double stars: Many a star in the sky is two. The middle star of the Plough's handle has a faint companion
that good eyes can see on a clear night, and a telescope splits the brighter of them again.

# bees

The hive in spring: On the first warm day of spring the bees leave the hive to fly. The beekeeper watches
the entrance: if they carry pollen the queen is laying, and the colony has come through the winter.

From a beekeeper's diary: Diary, 12 May: "Swarm in the apple tree, as big as a melon.\n Took it in a straw
basket at dusk." Until evening the bees hung quietly around their queen; by morning they were building
comb in the new hive.

The dance: A bee that has found flowers dances on the comb when she is back in the hive. The angle of her
dance gives the direction from the sun, its length the distance, and other bees fly straight there.

Honey harvest: Honey is ripe when the bees have closed the cells with wax. The beekeeper lifts the combs
from the hive, cuts off the wax lids, and spins the combs until the honey runs down the drum.

The queen: There is one queen in a hive, and she lays up to two thousand eggs on a summer day. When she
grows old the bees raise a new queen from an ordinary egg by feeding the larva differently.

Smoke: A little smoke keeps the bees calm while the hive is open. They fill themselves with honey as if
the tree were on fire, and a full bee seldom stings; too much smoke only makes the honey taste of it.

Winter cluster: In winter the bees form a ball around the queen and warm it by shivering. The ball moves
slowly over the combs and eats honey; a colony needs fifteen kilos of it to see the spring.

Pollen: Bees carry pollen home in little baskets on their hind legs, yellow from willow, orange from
dandelion, grey from raspberry. In the hive it is packed into cells of the comb as food for the larvae.

Drones: The drones of a hive have no sting and gather no honey. Their one task is to mate with a young
queen in flight, and when autumn comes the bees drive the drones out of the hive.

Wax: Young bees sweat thin flakes of wax and chew them into comb. Six-sided cells hold the most honey for
the least wax, and the bees build them in the dark of the hive without a plan.

Mites: A mite the size of a pinhead lives on bees and their larvae. The beekeeper counts how many fall to
the floor of the hive in a day, and treats the colony after the honey harvest.

Guard bees: Guard bees stand at the entrance and smell everyone who lands. A bee of the same hive walks
in, a stranger with a load of pollen is let pass, a wasp after the honey is thrown out.

Clover year: In a dry year the bees find little, in a year of clover the hive overflows. The beekeeper
sets another box of empty combs on top before the colony runs out of room for honey.

Wild bees: Most kinds of bees live alone, without hive or queen or honey. A wild bee digs a tunnel in sand
or finds a hollow stem, lays an egg on a ball of pollen, and closes the door.

Moving a hive: Move a hive less than a metre or more than three kilometres. Bees remember the place of the
entrance; moved a little way, they fly back with their honey to where the hive used to stand.

Lime blossom: When the limes flower the whole avenue hums. The bees bring the nectar home from morning to
night, and the honey of that week is pale green and tastes a little of mint in the comb.

Listening to the hive: Put your ear to the wall of the hive in January and knock once. A short hum that
dies away means that the colony is well; a long, restless one means bees without a queen.

# trams

The first tram: The first tram of the day leaves the depot at half past four. It carries bakers and nurses
through empty streets, and its driver rings the bell at every crossing although nobody is there.

Notice at the stop: A notice at the stop on the Königsplatz says:\n "Tram 6 runs every ten minutes, on
Sundays every fifteen."\n Beneath it a passenger has written, with a pen and some justice, that it depends
on the driver.

Rails in the street: Tram rails have a groove for the flange of the wheel, so that cars can drive over
them. Leaves and ice fill the groove; a cleaning tram with brushes goes down the line before the
passengers do.

The overhead wire: A tram takes its current from a wire above the street and gives it back through the
rails. The wire runs in a slight zigzag, so that it does not saw a notch into the bar on the tram's roof.

Low floors: Old trams had three steps at each door. The new trams have a low floor, level with the stop,
and a passenger with a pram or a wheelchair rolls in while the driver hardly has to wait.

Sand: Under the seats of a tram there are boxes of dry sand. When the rails are wet the driver presses a
pedal, sand falls before the wheels, and the tram can brake before the stop and not behind it.

A tram has priority: At the traffic lights the tram has priority: a coil between the rails feels it coming
and turns the lights green. The line has become four minutes faster from depot to terminus, with the same
trams.

Tickets: A ticket is valid on every tram line of the city for ninety minutes. Stamp it at the machine
beside the door; the inspector comes rarely, and always on the day when the passenger forgot.

The depot at night: At night the trams come home to the depot one line after another. They are washed,
their brakes and doors are tested, lost umbrellas are collected, and by three they stand in rows on the
rails.

Points: Where two lines part there are points in the rails. The driver sets them from the cab by radio; in
the old days a driver climbed down from the tram with an iron bar and moved them by hand.

The terminus loop: At the terminus the rails make a loop around a chestnut tree. The tram goes round it,
the driver drinks his coffee, the passengers for the city get on, and after six minutes the line begins
again.

Grass track: On the new line the rails lie in grass. It muffles the wheels, cools the street in summer,
and keeps cars away from the tram; once a week a mower on rails goes along it at walking speed.

Snow plough: When it snows the tram with the plough goes out before the first line. It pushes the snow
from the rails to the side of the street, where the passengers have to climb over it at the stop.

Museum tram: On the first Sunday of the month the museum runs a wooden tram of 1911. The driver stands,
the passengers sit on benches along the sides, and the conductor rings twice before every stop.

Night line: After midnight all tram lines meet at the station every hour. The drivers wait for each other,
passengers change across the platform, and then the trams leave together in six directions.

Building a line: To build a tram line the pipes under the street are moved first. Then come the concrete,
the rails, the masts and the wire; the trams themselves arrive last, by lorry, at night.

Learning to drive a tram: A tram driver trains for three months. One learns the signals, the points and
the doors in a few weeks; to brake so gently on wet rails that no passenger has to hold on takes the rest.
"""


def stream() -> list[dict[str, str]]:
    """Return all passages, one of each subject in turn, so that every file has some of each subject."""
    subjects = {}
    for section in PASSAGES.strip().removeprefix("# ").split("\n\n# "):
        topic, *passages = section.split("\n\n")
        subjects[topic] = [" ".join(passage.split()).split(": ", 1) for passage in passages]
    rows = [
        {"topic": topic, "title": title, "text": text.replace("\\n ", "\n")}
        for turn in zip(*subjects.values(), strict=True)
        for topic, (title, text) in zip(subjects, turn, strict=True)
    ]
    return [{"id": f"s{number:03d}", **row} for number, row in enumerate(rows, start=1)]


def delimited(rows: list[dict[str, str]], columns: list[str], delimiter: str) -> str:
    """Return the rows as csv text with a header."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, delimiter=delimiter, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def make(folder: Path) -> None:
    """Write the eight files under `folder`, the same bytes every time (for one version of pyarrow)."""
    rows = iter(stream())

    def take(count: int, *columns: str) -> list[dict[str, str]]:
        return [{name: row[name] for name in columns} for row in islice(rows, count)]

    (folder / "more").mkdir(parents=True, exist_ok=True)

    notes = take(15, "id", "title", "text")
    # The only empty row of the samples: its record is an `empty_input` error.
    notes.insert(9, {"id": "s000", "title": "Still to be written", "text": ""})
    (folder / "notes.csv").write_text(delimited(notes, ["id", "title", "text"], ","), encoding="utf-8")

    letters = take(12, "id", "topic", "text")
    (folder / "letters.tsv").write_text(delimited(letters, ["id", "topic", "text"], "\t"), encoding="utf-8")

    pyarrow.parquet.write_table(
        pa.Table.from_pylist(take(14, "id", "topic", "text")), folder / "handbook.parquet", row_group_size=5
    )

    almanac = take(12, "id", "title", "text")
    (folder / "almanac.json").write_text(json.dumps(almanac, ensure_ascii=False, indent=1) + "\n", "utf-8")

    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in take(13, "id", "text")]
    (folder / "questions.jsonl").write_text("".join(lines), encoding="utf-8")

    pyarrow.feather.write_feather(
        pa.Table.from_pylist(take(12, "text", "topic")), str(folder / "more" / "diary.arrow"), "uncompressed"
    )

    plain = "".join(row["text"] + "\n" for row in take(14, "text"))
    (folder / "more" / "plain.txt").write_text(plain, encoding="utf-8")

    archive = delimited(take(10, "id", "text"), ["id", "text"], ",")
    # The gzip header has no name and no time, so that the bytes depend only on the text.
    (folder / "more" / "archive.csv.gz").write_bytes(gzip.compress(archive.encode(), mtime=0))

    if next(rows, None) is not None:
        raise SystemExit("a passage is left over: the counts above must add up")


if __name__ == "__main__":
    make(DATA)

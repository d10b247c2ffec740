"""The 27 classes of aircraft, as one table of dimensions in metres.

Lengths, spans, engine and rotor counts are those that fact sheets of air forces, makers and reference works give for each
type, to a decimetre; no source is kept number by number, and public figures differ by some decimetres (with or without
probe, launch rails, rotors).  Chords, sweep angles and the places of parts along the body are estimates that make an
outline recognisable; they were not measured on drawings.

`shapes.py` turns a row into polygons.  Coordinates of a row: x runs from the nose (0) to the tail, y from the centre line to
the right wing tip; everything is mirrored to the left.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Surface:
    """A wing, tail plane or canard.  x: leading edge on the centre line; span tip to tip; root, tip: chords; sweep: degrees
    of the leading edge; kink: fraction of the half span up to which the trailing edge stays at right angles to the body."""

    x: float
    span: float
    root: float
    tip: float
    sweep: float = 0.0
    kink: float = 0.0


@dataclass(frozen=True)
class Engine:
    """A nacelle on the wing.  y: from the centre line; ahead: metres in front of the leading edge there; prop: diameter."""

    y: float
    ahead: float
    length: float
    width: float
    prop: float = 0.0


@dataclass(frozen=True)
class Pod:
    """Anything long and thin along the body: rear engine, tank, gear fairing, sting.  x: its front end."""

    x: float
    y: float
    length: float
    width: float


@dataclass(frozen=True)
class Fin:
    """A vertical fin.  cant: degrees by which it leans outwards (then visible from above)."""

    x: float
    root: float
    height: float
    y: float = 0.0
    cant: float = 0.0


@dataclass(frozen=True)
class Rotor:
    """A rotor that lies flat (helicopter, tilt rotor), or with blades=0 the dish of a radar."""

    x: float
    y: float
    diameter: float
    blades: int


@dataclass(frozen=True)
class Aircraft:
    """One type.  width: of the body; shape: body outline in shapes.BODIES; height: of wing above ground; paints: liveries."""

    name: str
    length: float
    width: float
    shape: str
    wing: Surface | None = None
    tail: Surface | None = None
    canard: Surface | None = None
    strake: tuple = ()  # polygon of one side, (x, y) pairs: root extensions, gloves of swing wings, whole flying wings
    engines: tuple = ()
    pods: tuple = ()
    fins: tuple = ()
    rotors: tuple = ()
    height: float = 2.5
    paints: tuple = field(default=("grey",))

    @property
    def span(self) -> float:
        """Greatest width in metres: wing, strake or rotors."""
        wing = self.wing.span if self.wing else 0.0
        strake = max((2 * y for _, y in self.strake), default=0.0)
        rotors = max((2 * r.y + r.diameter for r in self.rotors), default=0.0)
        return max(wing, strake, rotors, self.width)


def jets(*ys, ahead, length, width):
    return tuple(Engine(y, ahead, length, width) for y in ys)


def props(*ys, ahead, length, width, prop):
    return tuple(Engine(y, ahead, length, width, prop) for y in ys)


LINER, WAR, NAVY, EAST = (
    ("white", "whiteblue"),
    ("grey", "midgrey"),
    ("grey", "white", "midgrey"),
    ("bluegrey", "bluecamo"),
)
FLANKER: dict[str, Any] = {
    "width": 2.3,
    "shape": "flanker",
    "wing": Surface(7.2, 14.7, 8.5, 2.0, 42),
    "tail": Surface(14.0, 9.9, 4.6, 1.4, 45),
    "strake": ((4.6, 0.5), (8.4, 1.7), (10.4, 3.0), (15.7, 3.0), (15.7, 0.5)),
    "fins": (Fin(13.8, 4.2, 3.4, 2.3),),
    "paints": EAST,
}

# class -> its variants; an instance draws one of them at random
AIRCRAFT = {
    "c17": (Aircraft("C-17A", 53.0, 6.9, "cargo", Surface(17.0, 51.8, 12.6, 3.0, 27, 0.3), Surface(45.3, 19.8, 6.2, 2.6, 28),
                     engines=jets(8.0, 14.4, ahead=4.4, length=6.0, width=2.7), fins=(Fin(43.5, 8.0, 9.0),), height=5.0, paints=("grey",)),),
    "c5": (Aircraft("C-5M", 75.5, 7.1, "cargo", Surface(22.5, 67.9, 14.4, 4.6, 28), Surface(65.2, 20.9, 8.0, 3.0, 29),
                    engines=jets(12.0, 19.0, ahead=5.2, length=7.6, width=2.8), fins=(Fin(63.0, 10.0, 10.5),), height=6.0, paints=("grey",)),),
    "helicopter": (
        Aircraft("UH-60", 15.6, 2.4, "heli", tail=Surface(13.6, 4.4, 1.3, 1.0), fins=(Fin(13.4, 2.2, 2.4),),
                 rotors=(Rotor(5.3, 0, 16.4, 4),), pods=(Pod(3.8, 0.75, 3.0, 0.8),), paints=("olive", "dark")),
        Aircraft("CH-47", 15.5, 3.2, "box", rotors=(Rotor(1.9, 0, 18.3, 3), Rotor(13.7, 0, 18.3, 3)),
                 pods=(Pod(4.0, 1.7, 8.0, 0.7),), height=4.0, paints=("olive", "dark")),
        Aircraft("Mi-8", 18.2, 2.5, "heli", tail=Surface(15.6, 3.6, 1.0, 0.8), fins=(Fin(16.0, 2.0, 2.4),),
                 rotors=(Rotor(5.6, 0, 21.3, 5),), pods=(Pod(4.0, 1.4, 3.6, 0.7),), height=3.5, paints=("olive", "white")),
    ),
    "c130": (Aircraft("C-130", 29.8, 4.3, "cargo", Surface(10.4, 40.4, 5.0, 2.5, 2, 0.45), Surface(24.2, 16.0, 4.3, 2.2, 10),
                      engines=props(4.95, 10.2, ahead=3.2, length=5.4, width=1.3, prop=4.1), fins=(Fin(22.5, 6.0, 7.0),), height=4.0, paints=WAR),),
    "f16": (Aircraft("F-16C", 15.0, 1.9, "fighter", Surface(6.0, 9.5, 5.0, 1.1, 40), Surface(11.6, 5.6, 3.3, 1.0, 40),
                     strake=((3.4, 0.5), (7.0, 1.3), (9.0, 1.5), (9.0, 0)), pods=(Pod(9.0, 4.8, 3.0, 0.25),), fins=(Fin(10.4, 3.6, 3.0),), paints=WAR),),
    "b2": (Aircraft("B-2A", 21.0, 6.2, "wing", strake=((0, 0), (17.0, 26.2), (19.8, 22.6), (14.6, 14.2), (19.9, 6.2), (17.6, 2.9), (21.0, 0)),
                    pods=(Pod(6.0, 3.9, 9.0, 2.6),), height=3.0, paints=("dark",)),),
    "other": (
        Aircraft("Learjet 35", 14.8, 1.6, "liner", Surface(6.2, 12.0, 3.0, 1.5, 15), Surface(12.2, 4.5, 1.6, 0.9, 28),
                 pods=(Pod(9.2, 1.25, 2.6, 0.9), Pod(5.6, 5.9, 4.2, 0.6)), fins=(Fin(11.0, 2.6, 2.2),), height=1.5, paints=LINER),
        Aircraft("King Air 200", 13.3, 1.4, "liner", Surface(4.6, 16.6, 2.5, 1.1, 4), Surface(11.2, 5.6, 1.7, 1.0, 18),
                 engines=props(2.6, ahead=2.0, length=3.6, width=0.9, prop=2.5), fins=(Fin(10.0, 2.6, 2.2),), height=1.5, paints=LINER),
        Aircraft("T-38", 14.1, 1.7, "fighter", Surface(6.8, 7.7, 3.7, 0.9, 33), Surface(11.3, 4.3, 2.0, 0.8, 33),
                 fins=(Fin(10.6, 2.8, 2.2),), height=1.4, paints=("white", "whiteblue", "midgrey")),
    ),
    "b52": (Aircraft("B-52H", 48.5, 3.2, "bomber", Surface(10.2, 56.4, 9.8, 3.6, 37), Surface(38.6, 15.9, 6.4, 2.4, 38),
                     engines=jets(10.3, 18.2, ahead=4.6, length=5.4, width=2.5), pods=(Pod(30.5, 24.4, 5.0, 0.9),),
                     fins=(Fin(36.5, 8.0, 8.5),), height=4.5, paints=("dark", "midgrey")),),
    "kc10": (Aircraft("KC-10A", 55.4, 6.0, "liner", Surface(16.6, 50.4, 13.4, 2.8, 37, 0.34), Surface(45.0, 21.7, 7.2, 2.6, 38),
                      engines=jets(8.1, ahead=4.6, length=7.5, width=2.9), pods=(Pod(44.5, 0, 9.8, 3.0),), fins=(Fin(43.5, 8.5, 9.5),), height=4.0,
                      paints=("grey", "midgrey")),),
    "command": (
        Aircraft("VC-25", 70.7, 6.5, "liner", Surface(19.5, 59.6, 17.0, 4.0, 41, 0.42), Surface(57.5, 22.2, 9.4, 2.6, 41),
                 engines=jets(11.7, 20.8, ahead=4.6, length=6.4, width=2.7), fins=(Fin(56.0, 11.0, 10.0),), height=4.5, paints=LINER),
        Aircraft("E-6B", 45.8, 3.8, "liner", Surface(13.8, 45.2, 10.6, 2.9, 38, 0.38), Surface(38.3, 14.0, 5.2, 1.9, 38),
                 engines=jets(8.2, 14.3, ahead=3.6, length=4.6, width=2.3), fins=(Fin(36.5, 6.5, 7.5),), height=3.5, paints=("white",)),
        Aircraft("C-32", 47.3, 3.8, "liner", Surface(15.0, 38.0, 10.0, 1.8, 29, 0.36), Surface(39.6, 15.2, 5.2, 1.6, 33),
                 engines=jets(6.5, ahead=4.2, length=5.8, width=2.6), fins=(Fin(37.8, 7.0, 8.0),), height=3.5, paints=("whiteblue",)),
    ),
    "f15": (Aircraft("F-15C", 19.4, 3.5, "twin", Surface(6.6, 13.0, 8.3, 1.7, 45), Surface(13.2, 8.6, 5.6, 1.3, 50),
                     strake=((5.6, 1.2), (6.6, 1.8), (15.0, 1.9), (15.0, 0)), fins=(Fin(12.8, 3.6, 3.1, 1.8),), paints=("midgrey", "grey", "bluegrey")),),
    "kc135": (Aircraft("KC-135R", 41.5, 3.7, "liner", Surface(11.8, 39.9, 10.0, 2.8, 38, 0.36), Surface(33.8, 12.3, 5.2, 2.0, 38),
                       engines=jets(8.0, 13.8, ahead=3.6, length=4.4, width=2.3), pods=(Pod(32.5, 0, 9.0, 0.7),), fins=(Fin(32.5, 6.5, 7.0),), height=3.5,
                       paints=WAR),),
    "a10": (Aircraft("A-10", 16.3, 1.5, "liner", Surface(5.7, 17.5, 3.1, 2.0, 1, 0.4), Surface(13.5, 5.7, 2.0, 2.0),
                     pods=(Pod(9.4, 1.3, 3.3, 1.5), Pod(4.6, 2.6, 3.2, 0.7)), fins=(Fin(13.2, 2.6, 2.6, 2.8),), paints=("midgrey", "greycamo", "olive")),),
    "b1": (Aircraft("B-1B", 44.5, 3.4, "bomber", Surface(20.2, 41.8, 7.0, 2.0, 15), Surface(37.0, 13.7, 5.2, 1.6, 42),
                    strake=((11.0, 1.2), (16.0, 2.6), (21.6, 5.6), (30.0, 5.6), (35.0, 1.5)), pods=(Pod(26.5, 3.6, 9.5, 2.7),),
                    fins=(Fin(36.0, 6.5, 7.0),), height=3.5, paints=("dark",)),),
    "aew": (
        Aircraft("E-3", 46.6, 3.8, "liner", Surface(13.8, 44.4, 10.6, 2.9, 38, 0.38), Surface(38.3, 14.0, 5.2, 1.9, 38),
                 engines=jets(8.2, 14.3, ahead=3.8, length=4.6, width=1.8), fins=(Fin(36.5, 6.5, 7.5),), rotors=(Rotor(31.0, 0, 9.1, 0),), height=3.5,
                 paints=("grey", "white")),
        Aircraft("E-2C", 17.6, 1.9, "liner", Surface(5.0, 24.6, 4.2, 1.6, 5), Surface(14.9, 8.0, 2.4, 2.0, 3),
                 engines=props(3.2, ahead=2.0, length=5.0, width=1.2, prop=4.1), fins=(Fin(14.9, 2.4, 2.6, 3.9), Fin(14.9, 2.2, 2.2, 1.6)),
                 rotors=(Rotor(8.4, 0, 7.3, 0),), height=3.0, paints=("grey",)),
        Aircraft("A-50", 49.6, 4.8, "cargo", Surface(15.2, 50.5, 10.6, 3.2, 28, 0.3), Surface(41.0, 17.4, 6.4, 2.6, 33),
                 engines=jets(6.4, 10.7, ahead=4.8, length=6.0, width=2.0), fins=(Fin(39.0, 8.0, 8.0),), rotors=(Rotor(30.5, 0, 10.2, 0),), height=5.0,
                 paints=("grey", "white")),
    ),
    "f22": (Aircraft("F-22A", 18.9, 4.2, "stealth", Surface(5.8, 13.6, 10.2, 1.8, 42), Surface(13.6, 8.8, 4.6, 1.0, 42),
                     fins=(Fin(11.8, 4.3, 2.6, 1.9, 28),), paints=("midgrey", "greycamo")),),
    "p3": (Aircraft("P-3C", 35.6, 3.5, "boom", Surface(9.2, 30.4, 5.9, 2.4, 4), Surface(26.8, 13.1, 3.8, 1.7, 10),
                    engines=props(4.9, 9.8, ahead=3.3, length=6.0, width=1.3, prop=4.1), fins=(Fin(25.0, 5.5, 6.0),), paints=NAVY),),
    "p8": (Aircraft("P-8A", 39.5, 3.8, "liner", Surface(12.8, 37.6, 9.0, 1.4, 28, 0.32), Surface(33.0, 14.4, 4.8, 1.5, 33),
                    engines=jets(4.8, ahead=3.0, length=4.6, width=2.2), fins=(Fin(31.0, 6.5, 7.0),), height=3.0, paints=("grey",)),),
    "f35": (Aircraft("F-35A", 15.7, 3.3, "stealth", Surface(5.2, 10.7, 6.8, 1.6, 35), Surface(11.9, 6.9, 3.4, 1.1, 35),
                     fins=(Fin(10.2, 3.0, 2.0, 1.3, 25),), paints=("midgrey", "dark")),),
    "f18": (Aircraft("F/A-18C", 17.1, 2.7, "twin", Surface(7.2, 11.4, 4.7, 1.7, 27), Surface(12.5, 6.6, 3.5, 1.0, 47),
                     strake=((3.8, 0.4), (5.4, 1.1), (8.0, 1.9), (11.0, 1.9), (11.0, 0)), pods=(Pod(9.6, 5.75, 2.9, 0.25),),
                     fins=(Fin(10.4, 3.0, 2.6, 1.3, 20),), paints=("grey", "midgrey")),),
    "v22": (Aircraft("V-22", 17.5, 2.4, "cargo", Surface(6.6, 14.0, 2.6, 2.6, -6), Surface(14.8, 5.6, 2.0, 2.0),
                     pods=(Pod(4.6, 7.1, 4.2, 1.6), Pod(6.0, 1.5, 5.0, 0.8)), fins=(Fin(14.4, 2.8, 2.4, 2.8),), rotors=(Rotor(6.2, 7.1, 11.6, 3),), height=4.0,
                     paints=("grey", "midgrey", "olive")),),
    "su-27": (Aircraft("Su-27", 21.9, **FLANKER, pods=(Pod(9.6, 1.35, 9.9, 1.5), Pod(16.5, 0, 5.4, 0.9), Pod(13.2, 7.35, 3.0, 0.25))),),
    "il-38": (Aircraft("Il-38", 40.1, 3.3, "boom", Surface(8.8, 37.4, 5.8, 2.0, 5), Surface(30.6, 11.8, 4.2, 1.8, 14),
                       engines=props(5.0, 10.1, ahead=3.2, length=5.8, width=1.3, prop=4.5), fins=(Fin(28.5, 6.5, 6.5),), paints=("grey", "bluegrey")),),
    "tu-134": (Aircraft("Tu-134", 37.1, 2.9, "liner", Surface(14.6, 29.0, 9.0, 2.3, 38, 0.28), Surface(31.6, 11.8, 4.4, 1.8, 39),
                        pods=(Pod(25.6, 2.45, 5.6, 1.6), Pod(20.5, 4.9, 7.6, 1.1)), fins=(Fin(29.5, 5.5, 5.5),), height=2.5, paints=LINER),),
    "su-33": (Aircraft("Su-33", 21.2, **FLANKER, canard=Surface(5.9, 7.6, 2.6, 0.7, 50), pods=(Pod(9.6, 1.35, 9.9, 1.5), Pod(16.5, 0, 4.6, 0.9))),),
    "an-70": (Aircraft("An-70", 40.7, 5.2, "cargo", Surface(12.8, 44.1, 7.4, 2.6, 13), Surface(33.6, 16.6, 5.4, 2.6, 15),
                       engines=props(6.0, 12.6, ahead=3.6, length=6.4, width=1.7, prop=4.5), fins=(Fin(31.5, 7.5, 8.0),), height=5.0, paints=("white", "grey")),),
    "tu-22": (Aircraft("Tu-22M3", 42.5, 4.4, "tupolev", Surface(20.6, 34.3, 8.2, 2.0, 20), Surface(34.6, 11.3, 6.4, 1.8, 56),
                       strake=((13.0, 1.8), (16.5, 2.4), (23.4, 7.2), (29.4, 7.2), (32.5, 2.0)), fins=(Fin(29.0, 11.0, 7.5),), height=3.0,
                       paints=("grey", "bluegrey")),),
}

# The names of the classes, in the order of the labels.
CLASSES = tuple(AIRCRAFT)

# Images and instances of each class in the reported validation set (the table that chapter 16 takes apart): the class
# imbalance that balance="reported" follows.
REPORTED = {
    "c17": (40, 131), "c5": (19, 68), "helicopter": (13, 43), "c130": (20, 85), "f16": (11, 57), "b2": (2, 2), "other": (13, 86),
    "b52": (21, 70), "kc10": (12, 62), "command": (12, 40), "f15": (21, 123), "kc135": (24, 91), "a10": (4, 27), "b1": (5, 20),
    "aew": (4, 25), "f22": (3, 17), "p3": (6, 105), "p8": (1, 1), "f35": (5, 32), "f18": (13, 125), "v22": (5, 41),
    "su-27": (5, 31), "il-38": (10, 27), "tu-134": (1, 1), "su-33": (1, 2), "an-70": (1, 2), "tu-22": (8, 98),
}

"""Draws opqbox-analogue.kicad_sch from the parts list, the netlist and places.toml.

    python schematic.py                                   # writes the schematic
    kicad-cli sch export svg opqbox-analogue.kicad_sch    # draws it (KiCad 8 or later)
    python schematic.py picture.png                       # keeps a browser's picture, with a digest

Connections come from netlist.csv alone. The routes of places.toml say which of them are drawn as a wire;
every other pin has the name of its net. A route that touches a foreign pin would join two nets: a test
reads KiCad's own netlist.
"""

import hashlib
import sys
import tomllib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from parts import HERE, Net, Part, read_bom, read_netlist
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

GRID_MM = 2.54
NAME = "opqbox-analogue"
SPACE = uuid.uuid5(uuid.NAMESPACE_URL, NAME)
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A part with more than two pins: each pin's distance from the top, by its name."""

    at: Point
    width: int
    left: Mapping[str, int]
    right: Mapping[str, int]

    @property
    def height(self) -> int:
        return max((*self.left.values(), *self.right.values())) + 2


with (HERE / "places.toml").open("rb") as places:
    _READ = tomllib.load(places)
TWO_POLES: Mapping[str, tuple[int, int, str]] = {ref: tuple(at) for ref, at in _READ["two_poles"].items()}
BOXES: Mapping[str, Box] = {ref: Box(**facts) for ref, facts in _READ["boxes"].items()}
ROUTES: Mapping[str, Sequence[Sequence[Point]]] = {
    net: [[(x, y) for x, y in route] for route in routes] for net, routes in _READ["routes"].items()
}
NOTES: Sequence[tuple[int, int, float, str]] = _READ["words"]["notes"]
HOT_FRAME: Sequence[Point] = _READ["words"]["hot_frame"]
SHORT: Mapping[str, str] = _READ["short"]
PIN_NAMES: Mapping[str, tuple[str, str]] = _READ["pins"]


def mm(x: float, y: float) -> str:
    return f"{x * GRID_MM:.2f} {y * GRID_MM:.2f}"


def on_sheet(x: float, y: float) -> str:
    """A place on the sheet, clear of its frame."""
    return mm(x + 8, y + 2)


def identity(*words: object) -> str:
    return f'(uuid "{key(*words)}")'


def key(*words: object) -> str:
    return str(uuid.uuid5(SPACE, " ".join(map(str, words))))


def font(size: float, more: str = "") -> str:
    return f"(effects (font (size {size} {size})){more})"


def names_of(ref: str) -> tuple[str, str]:
    one, two = PIN_NAMES.get(ref, ("1", "2"))
    return one, two


def pins_of(ref: str) -> dict[str, Point]:
    """Where a part's pins are, in grid units."""
    if ref in TWO_POLES:
        x, y, way = TWO_POLES[ref]
        one, two = names_of(ref)
        return {one: (x, y), two: (x + 4, y) if way == "h" else (x, y + 4)}
    box = BOXES[ref]
    left, top = box.at
    found = {pin: (left - 1, top + down) for pin, down in box.left.items()}
    return found | {pin: (left + box.width + 1, top + down) for pin, down in box.right.items()}


def pin_text(name: str, at: Point, angle: int) -> str:
    words = f'(name "{name}" {font(1.27)}) (number "{name}" {font(1.27)})'
    return f"(pin passive line (at {mm(*at)} {angle}) (length {GRID_MM}) {words})"


def lines_of(points: Sequence[Point], way: str) -> str:
    """A line of a two-pole around its pin 1; in a symbol y rises upwards."""
    turned = points if way == "h" else [(y, -x) for x, y in points]
    at = " ".join(f"(xy {mm(x, y)})" for x, y in turned)
    return f"(polyline (pts {at}) (stroke (width 0.2) (type default)) (fill (type none)))"


def body(ref: str) -> Iterator[Sequence[Point]]:
    """The lines of a two-pole that lies from left to right."""
    if ref[0] == "C":
        yield from (
            [(1, 0), (1.8, 0)],
            [(1.8, 0.8), (1.8, -0.8)],
            [(2.2, 0.8), (2.2, -0.8)],
            [(2.2, 0), (3, 0)],
        )
        return
    yield [(1, 0.4), (3, 0.4), (3, -0.4), (1, -0.4), (1, 0.4)]
    if ref == "XF1":
        yield [(1, 0), (3, 0)]
    elif ref == "RV1":
        yield [(0.8, -0.9), (1.3, -0.9), (2.7, 0.9)]
    elif ref[0] == "D":
        yield from ([(1.5, 0.4), (1.5, -0.4)], [(1.5, 0), (2.5, 0.4), (2.5, -0.4), (1.5, 0)])


def symbol(ref: str) -> str:
    """A part's own symbol; names of pins are shown for boxes only."""
    if ref in TWO_POLES:
        way = TWO_POLES[ref][2]
        ends: list[tuple[Point, int]] = [((0, 0), 0), ((4, 0), 180)]
        if way == "v":
            ends = [((0, 0), 270), ((0, -4), 90)]
        pins = [pin_text(name, *end) for name, end in zip(names_of(ref), ends, strict=True)]
        shapes, shown = [lines_of(points, way) for points in body(ref)], "(pin_names (hide yes))"
    else:
        box = BOXES[ref]
        pins = [pin_text(name, (-1, -down), 0) for name, down in box.left.items()]
        pins += [pin_text(name, (box.width + 1, -down), 180) for name, down in box.right.items()]
        edge = "(stroke (width 0.25) (type default)) (fill (type background))"
        shapes = [f"(rectangle (start 0 0) (end {mm(box.width, -box.height)}) {edge})"]
        shown = "(pin_names (offset 0.5))"
    return (
        f'(symbol "opq:{ref}" (pin_numbers (hide yes)) {shown} (exclude_from_sim no) (in_bom yes)'
        f' (on_board yes) (property "Reference" "{ref}" (at 0 0 0)) (property "Value" "" (at 0 0 0))'
        f' (symbol "{ref}_0_1" {" ".join(shapes)}) (symbol "{ref}_1_1" {" ".join(pins)}))'
    )


def placed(ref: str, part: Part) -> str:
    """The part on the sheet, with its reference, its value and its maker's number."""
    if ref in TWO_POLES:
        x, y, way = TWO_POLES[ref]
        at: Point = (x, y)
        words_at = (
            ((x + 2, y - 1.3), (x + 2, y + 1.4)) if way == "h" else ((x + 2.2, y + 1.4), (x + 2.2, y + 2.7))
        )
        words = SHORT.get(ref, part.words if part.words[0].isdigit() else "")
    else:
        box = BOXES[ref]
        at, middle = box.at, box.at[0] + box.width / 2
        words_at = ((middle, at[1] - 0.9), (middle, at[1] + box.height + 1))
        words = part.words if ref[0] == "J" else part.part
    properties = "".join(
        f' (property "{name}" "{value}" (at {on_sheet(*place)} 0) {look})'
        for name, value, place, look in (
            ("Reference", ref, words_at[0], font(1.5)),
            ("Value", words, words_at[1], font(1.5)),
            ("Part", f"{part.maker} {part.part}", at, font(1, " (hide yes)")),
        )
    )
    return (
        f'(symbol (lib_id "opq:{ref}") (at {on_sheet(*at)} 0) (unit 1) (exclude_from_sim no) (in_bom yes)'
        f" (on_board yes) (dnp no) {identity(ref)}{properties}"
        f' (instances (project "{NAME}" (path "/{key("sheet")}" (reference "{ref}") (unit 1)))))'
    )


def wire(one: Point, two: Point) -> str:
    ends = f"(xy {on_sheet(*one)}) (xy {on_sheet(*two)})"
    return f"(wire (pts {ends}) (stroke (width 0) (type default)) {identity('wire', one, two)})"


def label(net: str, at: Point, angle: int = 0) -> str:
    side = " (justify left bottom)" if angle in (0, 90) else " (justify right bottom)"
    return f'(label "{net}" (at {on_sheet(*at)} {angle}) {font(1.27, side)} {identity("label", net, at)})'


def outward(ref: str, pin: str) -> int:
    """The angle at which a name leaves a pin."""
    if ref in BOXES:
        return 180 if pin in BOXES[ref].left else 0
    first = pin == names_of(ref)[0]
    if TWO_POLES[ref][2] == "h":
        return 180 if first else 0
    return 90 if first else 270


def connections(nets: Sequence[Net]) -> Iterator[str]:
    for net in nets:
        routes = ROUTES.get(net.name, ())
        drawn = [point for route in routes for point in route]
        ends = [point for route in routes for pair in pairwise(route) for point in pair]
        for route in routes:
            yield from (wire(one, two) for one, two in pairwise(route))
        for point in sorted(point for point in set(ends) if ends.count(point) > 2):
            yield f"(junction (at {on_sheet(*point)}) (diameter 0) (color 0 0 0 0) {identity('dot', point)})"
        if drawn:
            yield label(net.name, drawn[0])
        for ref, pin in net.pins:
            at = pins_of(ref)[pin]
            if at not in drawn:
                yield label(net.name, at, outward(ref, pin))


def note(x: int, y: int, size: float, words: str) -> str:
    look = font(size, " (justify left bottom)")
    return f'(text "{words}" (exclude_from_sim no) (at {on_sheet(x, y)} 0) {look} {identity("text", words)})'


def schematic(parts: Mapping[str, Part], nets: Sequence[Net]) -> str:
    refs = [*TWO_POLES, *BOXES]
    start, end = HOT_FRAME
    comments = (
        "Drawn from bom.csv and netlist.csv by schematic.py",
        "CERN-OHL-P-2.0",
        "Mains: read SAFETY.md first",
    )
    content = [
        f'(kicad_sch (version 20231120) (generator "opq") (generator_version "1") {identity("sheet")}',
        '(paper "User" 450 325)',
        '(title_block (title "OPQ Box, analogue front end")',
        *(f'(comment {number} "{words}")' for number, words in enumerate(comments, 1)),
        ")",
        "(lib_symbols",
        *(symbol(ref) for ref in refs),
        ")",
        f"(rectangle (start {on_sheet(*start)}) (end {on_sheet(*end)}) (stroke (width 0.4) (type dash))",
        f"(fill (type none)) {identity('frame')})",
        *(note(*each) for each in NOTES),
        *connections(nets),
        *(placed(ref, parts[ref]) for ref in refs),
        '(sheet_instances (path "/" (page "1"))))',
    ]
    return "\n".join(content) + "\n"


def digest() -> str:
    return hashlib.sha256((HERE / f"{NAME}.kicad_sch").read_bytes()).hexdigest()


def keep_picture(path: Path) -> None:
    """Writes the page's picture with 32 colours, without a white margin, and which schematic it shows."""
    picture = Image.open(path).convert("RGB")
    background = Image.new("RGB", picture.size, (255, 255, 255))
    facts = PngInfo()
    facts.add_text("schematic", digest())
    kept = picture.crop(ImageChops.difference(picture, background).getbbox()).quantize(32)
    kept.save(HERE / f"{NAME}.png", optimize=True, pnginfo=facts)


def main(arguments: Sequence[str]) -> None:
    if arguments:
        keep_picture(Path(arguments[0]))
    else:
        (HERE / f"{NAME}.kicad_sch").write_text(schematic(read_bom(), read_netlist()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

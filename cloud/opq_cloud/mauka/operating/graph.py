"""The graph of Mauka's running plug-ins and of the nouns between them, as text and as SVG. Pure.

A plug-in that gives a topic is joined to each that takes it; a topic that none takes ends at the bus. Nouns
go from where they are made to the runner that reads them, from there to the analyses that take them, and
findings from these to the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from opq_proto.kit import drawing
from opq_proto.kit.drawing import Point

BRIDGE = "event service"
"""Node that events come from."""
RUNNER = "AnalysisRunner"
"""Runner of the analyses that read events."""
STREAMS = "StreamRunner"
"""Runner of the analyses that read the nouns of READ_FROM."""
STORE = "store: incidents"
"""Node that findings go to, and that findings and incidents are read from."""
BROKER = "triggering broker"
"""Where StreamRunner reads Measurements from."""
TRENDS = "store: Trends"
"""Where StreamRunner reads Trends from."""
HISTORY = "store: weeks"
"""Where StreamRunner reads Histories from."""
READ_FROM = {"Measurement": BROKER, "Trend": TRENDS, "Finding": STORE, "Incident": STORE, "History": HISTORY}
"""Noun that StreamRunner reads -> where from."""
NOUNS = frozenset({*READ_FROM, "Event"})
WIDTH = 190
"""Pixels of a node; the longest name of an analysis fits."""
HEIGHT = 30
"""Pixels of a node."""
GAP_X = 180
"""Pixels between columns of nodes, room for an edge's name."""
GAP_Y = 12
"""Pixels between nodes of a column."""
MARGIN = 20
"""Pixels around the graph."""
COLOURS = {
    "bus": "#dbe7f3",
    "built-in": "#e3f1df",
    "installed": "#fdf0d0",
    "original": "#f6dfe9",
    "": "#eeeeee",
}
"""Origin -> fill colour; "" stands for the ends of the graph."""
LONGEST_LABEL = 27
EDGE_REACH = 30
"""How far an edge goes straight from a node, and to the right of one that it comes back to."""


@dataclass(frozen=True, slots=True)
class GraphNode:
    name: str
    origin: str
    running: bool
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    processes: int = 0
    """Largest number of processes for its analyses; 0: they run in Mauka's own."""


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """`what`: topics or nouns that flow from one to the other, sorted."""

    start: str
    end: str
    what: tuple[str, ...]


def read_nodes(rows: Sequence[Mapping[str, Any]]) -> list[GraphNode]:
    """Returns the nodes in the answer to `graph`, and the ends that are not plug-ins.

    StreamRunner takes and gives the nouns that an analysis takes which runs.
    """
    nodes = [
        GraphNode(
            row["name"],
            row["origin"],
            row["running"],
            tuple(row["takes"]),
            tuple(row["gives"]),
            int(row.get("processes", 0)),
        )
        for row in rows
    ]
    taken = {noun for node in nodes if node.running and _is_analysis(node) for noun in node.takes}
    read = tuple(noun for noun in READ_FROM if noun in taken)
    nodes = [replace(node, takes=(*node.takes, *read)) if node.name == STREAMS else node for node in nodes]
    first = [GraphNode(BRIDGE, "", True, (), ("MakaiEvent",))]
    first += [
        GraphNode(end, "", True, (), (noun,))
        for noun, end in READ_FROM.items()
        if noun in read and end != STORE
    ]
    given = tuple(noun for noun in read if READ_FROM[noun] == STORE)
    return [*first, *nodes, GraphNode(STORE, "", True, ("Finding",), given)]


def edges_of(nodes: Sequence[GraphNode]) -> list[GraphEdge]:
    """Returns the edges between nodes."""
    found = []
    for start in nodes:
        for end in nodes:
            what = sorted({each for each in _given_by(start) if _flows(start, end, each)})
            if what and start.name != end.name:
                found.append(GraphEdge(start.name, end.name, tuple(what)))
    return found


def _is_analysis(node: GraphNode) -> bool:
    return node.origin in ("built-in", "installed")


def _given_by(node: GraphNode) -> tuple[str, ...]:
    """Returns what it gives: the runners also give nouns to the analyses."""
    runners = {RUNNER: ("Event",), STREAMS: tuple(READ_FROM)}
    return (*node.gives, *runners.get(node.name, ()))


def _flows(start: GraphNode, end: GraphNode, what: str) -> bool:
    """Returns True if `what`, which the one gives, goes to the other.

    A noun is handed over within Mauka; a topic is on the bus, and matched by its beginning.
    """
    if what not in NOUNS:
        topics = tuple(each for each in end.takes if each not in NOUNS)
        return bool(topics) and what.startswith(topics)
    if what not in end.takes:
        return False
    if start.name in (RUNNER, STREAMS):
        return _is_analysis(end)
    return end.name == (STORE if _is_analysis(start) else STREAMS)


def graph_text(nodes: Sequence[GraphNode]) -> str:
    """Returns one line for each plug-in and for each thing it gives, with those that take it."""
    edges, lines = edges_of(nodes), []
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        if node.name == STORE and not node.gives:
            continue
        mark = "" if node.running else " [stopped]"
        origin = f" ({node.origin})" if node.origin else ""
        plural = "" if node.processes == 1 else "es"
        origin += f", {node.processes} process{plural}" if node.processes else ""
        lines.append(
            f"{node.name}{origin}{mark}" + (f"  takes {', '.join(node.takes)}" if node.takes else "")
        )
        taken: dict[str, list[str]] = {}
        for edge in edges:
            if edge.start == node.name:
                for what in edge.what:
                    taken.setdefault(what, []).append(edge.end)
        for what in node.gives:
            taken.setdefault(what, [])
        for what, ends in sorted(taken.items()):
            named = ", ".join(end if by_name[end].running else f"{end} [stopped]" for end in ends)
            lines.append(f"    --{what}--> {named or 'the bus'}")
    return "\n".join(lines) + "\n"


def graph_svg(nodes: Sequence[GraphNode]) -> str:
    """Draws the plug-ins in columns from left to right by their distance from the first."""
    edges = edges_of(nodes)
    columns = _columns(nodes, edges)
    place = {
        name: (MARGIN + x * (WIDTH + GAP_X), MARGIN + y * (HEIGHT + GAP_Y))
        for x, names in enumerate(columns)
        for y, name in enumerate(names)
    }
    labelled = any(edge.start in columns[-1] for edge in edges)
    width = 2 * MARGIN + len(columns) * (WIDTH + GAP_X) - (0 if labelled else GAP_X)
    lowest = MARGIN + max(map(len, columns)) * (HEIGHT + GAP_Y)
    height = lowest + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12" aria-label="plug-ins of Mauka">',
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0,1L8,4L0,7z" fill="#8a8a8a"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for edge in edges:
        (x1, y1), (x2, y2) = place[edge.start], place[edge.end]
        x1, y1, y2 = x1 + WIDTH, y1 + HEIGHT // 2, y2 + HEIGHT // 2
        drawn = drawing.line(_edge_points(x1, y1, x2, y2, lowest))
        title = escape(f"{edge.start} to {edge.end}: {', '.join(edge.what)}")
        parts.append(
            f'<path d="{drawn}" fill="none" stroke="#8a8a8a" '
            f'marker-end="url(#end)"><title>{title}</title></path>'
        )
    for start in {edge.start for edge in edges}:
        x, y = place[start]
        what = sorted({each for edge in edges if edge.start == start for each in edge.what})
        for line, topic in enumerate(what[:2]):
            label = escape(
                _short(topic if line == 0 or len(what) <= 2 else f"{topic} and {len(what) - 2} more")
            )
            parts.append(
                f'<text x="{x + WIDTH + 4}" y="{y + 11 + 13 * line}" font-size="10" stroke="white" '
                f'stroke-width="3" paint-order="stroke">{label}</text>'
            )
    for node in nodes:
        x, y = place[node.name]
        dash = "" if node.running else ' stroke-dasharray="4 3" opacity="0.6"'
        fill = COLOURS.get(node.origin, COLOURS[""])
        state = f" x {node.processes}" if node.processes > 1 else ""
        state += "" if node.running else " (stopped)"
        parts.append(
            f'<g{dash}><path d="{drawing.bar(x, x + WIDTH, y, y + HEIGHT)}" fill="{fill}" '
            f'stroke="#555"/><text x="{x + WIDTH // 2}" y="{y + 19}" text-anchor="middle">'
            f"{escape(_short(node.name, len(state)) + state)}</text></g>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _edge_points(x1: int, y1: int, x2: int, y2: int, lowest: int) -> list[Point]:
    """An edge from a right side to a left one, or to the right one of the same column or of one before.

    One to an earlier column goes round below `lowest`, where no plug-in is.
    """
    if x2 >= x1:
        return [(x1, y1), (x1 + EDGE_REACH, y1), (x2 - EDGE_REACH, y2), (x2, y2)]
    right = x2 + WIDTH
    back = [(right + EDGE_REACH, y2), (right, y2)]
    start = [(x1, y1), (x1 + EDGE_REACH, y1)]
    if right == x1:
        return [*start, *back]
    return [*start, (x1 + EDGE_REACH, lowest), (right + EDGE_REACH, lowest), *back]


def _short(text: str, beside: int = 0) -> str:
    """Returns the text, cut where it is too long for its box with `beside` more characters."""
    most = LONGEST_LABEL - beside
    return text if len(text) <= most else text[: most - 3] + "..."


def _columns(nodes: Sequence[GraphNode], edges: Sequence[GraphEdge]) -> list[list[str]]:
    """Places a plug-in right of the first that reaches it; those that nothing reaches are in column 0.

    The runners are beside each other, and the store is the last column.
    """
    depth = {BRIDGE: 0} | {node.name: 1 for node in nodes if node.name == STREAMS}
    while True:
        known = [edge for edge in edges if edge.start in depth and edge.start != STORE]
        reached = {edge.end: depth[edge.start] + 1 for edge in known}
        new = {name: at for name, at in reached.items() if name not in depth}
        if not new:
            break
        depth |= new
    depth.pop(STORE, None)
    depth[STORE] = last = max(depth.values()) + 1
    columns: list[list[str]] = [[] for _ in range(last + 1)]
    for node in nodes:
        columns[depth.get(node.name, 0)].append(node.name)
    return columns

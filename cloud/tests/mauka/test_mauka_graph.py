"""The graph of what runs: who gives what to whom, as text and as a drawing."""

import re
from xml.etree import ElementTree

from opq_cloud.mauka.operating.graph import GAP_X, MARGIN, WIDTH, edges_of, graph_svg, graph_text, read_nodes


def row(name, origin, takes, gives, running=True):
    return {"name": name, "origin": origin, "running": running, "takes": takes, "gives": gives}


def corners(path):
    """The places that a path of straight lines goes through."""
    x, y, found = 0.0, 0.0, []
    for kind, first, second in re.findall(r"([MLHV])([\d.]+)(?:,([\d.]+))?", path.get("d")):
        x = x if kind == "V" else float(first)
        y = float(second or first) if kind != "H" else y
        found.append((x, y))
    return found


NODES = read_nodes(
    [
        row("AnalysisRunner", "bus", ["MakaiEvent"], ["laha_gc"]),
        row("MakaiEventPlugin", "bus", ["MakaiEvent"], ["AdcSamples", "RawVoltage"]),
        row("rms_voltage", "built-in", ["Event"], ["Finding"]),
        row("flicker", "built-in", ["Event"], ["Finding"], running=False),
        row("Mine<&>", "original", ["Raw", "foo"], ["topic"]),
        row("All", "original", [""], []),
    ]
)


def test_edges_follow_from_topics():
    """A node takes topics by their beginning."""
    found = {(edge.start, edge.end): edge.what for edge in edges_of(NODES)}
    assert found["event service", "AnalysisRunner"] == ("MakaiEvent",)
    assert found["AnalysisRunner", "rms_voltage"] == ("Event",)
    assert found["rms_voltage", "store: incidents"] == ("Finding",)
    assert found["MakaiEventPlugin", "Mine<&>"] == ("RawVoltage",)
    assert found["MakaiEventPlugin", "All"] == ("AdcSamples", "RawVoltage")
    assert found["AnalysisRunner", "All"] == ("laha_gc",)
    assert ("Mine<&>", "Mine<&>") not in found and ("Mine<&>", "All") in found


def test_the_text_names_stopped_plugins():
    text = graph_text(NODES)
    assert "    --Event--> rms_voltage, flicker [stopped]" in text
    assert "flicker (built-in) [stopped]  takes Event" in text


def test_the_drawing_escapes_names():
    """It is an SVG with a node for each plug-in; a name is never markup."""
    drawing = graph_svg(NODES)
    root = ElementTree.fromstring(drawing)
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {node.name for node in NODES if node.running} <= set(texts) and "flicker (stopped)" in texts
    column = WIDTH + GAP_X
    for label in root.iter("{http://www.w3.org/2000/svg}text"):
        if label.get("stroke") == "white":
            x = float(label.get("x"))
            assert x + 6.5 * len(label.text) < (x // column + 1) * column, "it ends before the next box"
    width, height = float(root.get("width")), float(root.get("height"))
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        assert all(x <= width and y <= height for x, y in corners(path))


def test_nouns_go_to_their_runner_and_analyses():
    nodes = read_nodes(
        [
            row("AnalysisRunner", "bus", ["MakaiEvent"], ["incident"]),
            row("StreamRunner", "bus", ["incident"], ["incident"]),
            row("rms_voltage", "built-in", ["Event"], ["Finding"]),
            row("low", "installed", ["Measurement"], ["Finding"]),
            row("news", "installed", ["Incident"], ["analysis.news"]),
            row("minutes", "installed", ["Trend"], ["Finding"], running=False),
            row("Mine", "original", ["analysis."], []),
        ]
    )
    assert {(edge.start, edge.end): edge.what for edge in edges_of(nodes)} == {
        ("event service", "AnalysisRunner"): ("MakaiEvent",),
        ("AnalysisRunner", "StreamRunner"): ("incident",),
        ("AnalysisRunner", "rms_voltage"): ("Event",),
        ("triggering broker", "StreamRunner"): ("Measurement",),
        ("store: incidents", "StreamRunner"): ("Incident",),
        ("StreamRunner", "low"): ("Measurement",),
        ("StreamRunner", "minutes"): ("Trend",),
        ("StreamRunner", "news"): ("Incident",),
        ("rms_voltage", "store: incidents"): ("Finding",),
        ("low", "store: incidents"): ("Finding",),
        ("minutes", "store: incidents"): ("Finding",),
        ("news", "Mine"): ("analysis.news",),
    }
    assert "store: incidents  takes Finding\n    --Incident--> StreamRunner\n" in graph_text(nodes)
    root = ElementTree.fromstring(graph_svg(nodes))
    groups = list(root.iter("{http://www.w3.org/2000/svg}g"))
    x_of = {"".join(group.itertext()): corners(group[0])[0][0] for group in groups}
    assert x_of["AnalysisRunner"] == x_of["StreamRunner"] < x_of["low"] < x_of["store: incidents"]
    for label in root.iter("{http://www.w3.org/2000/svg}text"):
        assert float(label.get("x")) + 6 * len(label.text) <= float(root.get("width")) or not label.get(
            "stroke"
        )
    assert "StreamRunner (bus)  takes incident\n" in graph_text(
        read_nodes([row("StreamRunner", "bus", ["incident"], [])])
    )


def test_edges_avoid_plugins_of_their_column():
    """Rates are asked for and answered within the first column: both edges stay right of it."""
    rate, response = "BoxMeasurementRateRequest", "BoxMeasurementRateResponse"
    nodes = read_nodes(
        [
            row("Ask", "bus", [response], [rate]),
            row("Between", "bus", [], []),
            row("Answer", "bus", [rate], [response]),
        ]
    )
    root = ElementTree.fromstring(graph_svg(nodes))
    paths = [each for each in root.iter("{http://www.w3.org/2000/svg}path") if each.get("marker-end")]
    assert len(paths) == 2
    for path in paths:
        assert min(x for x, _ in corners(path)) >= MARGIN + WIDTH


def test_backward_edges_pass_below_all_plugins():
    """A link back to an earlier column passes below all plug-ins."""
    nodes = read_nodes(
        [row("StreamRunner", "bus", ["incident"], []), row("storm", "installed", ["Incident"], ["Finding"])]
    )
    root = ElementTree.fromstring(graph_svg(nodes))
    (back,) = [
        each
        for each in root.iter("{http://www.w3.org/2000/svg}path")
        if "".join(each.itertext()).startswith("store: incidents to StreamRunner")
    ]
    boxes = [each[0] for each in root.iter("{http://www.w3.org/2000/svg}g")]
    lowest = max(y for each in boxes for _, y in corners(each))
    assert max(y for _, y in corners(back)) > lowest

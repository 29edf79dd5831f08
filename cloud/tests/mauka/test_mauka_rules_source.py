"""Stream rules read what Mauka publishes: the source `opqmauka` on a real bus with keys."""

import json
import threading

import pytest
import zmq
from free_ports import free_endpoint
from plugin_zips import Whose
from rules_house import House

from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.bus.broker import BusBroker
from opq_cloud.mauka.bus.incident_notice import CHANGED, GONE, NEW, IncidentNotice
from opq_proto.errors import FrameError
from opq_proto.keys.backend_keys import BackendAddress, BackendKeyFolder
from opq_proto.wire.mauka_pb2 import MaukaMessage
from opq_rules.sources import opqmauka


def published(kind, number, worst_class=None, severity=None):
    facts = {"id": number}
    if worst_class is not None:
        facts |= {"class": worst_class, "severity": severity, "box_ids": ["1", "4"]}
    return IncidentNotice(kind, facts, 2).message("AnalysisRunner").SerializeToString()


def test_a_rule_selects_incidents_over_curve(running, wire, until, tmp_path):
    keys = BackendKeyFolder(tmp_path / "backend")
    keys.create(True, ["cloud"])
    address = {name: str(BackendAddress(free_endpoint(), tmp_path / "backend")) for name in ("sub", "pub")}
    running.start(BusBroker(MaukaSection(bus_sub_endpoint=address["sub"], bus_pub_endpoint=address["pub"])))
    writer = wire.context.socket(zmq.PUB)
    BackendAddress(address["sub"].partition("?")[0], tmp_path / "backend").connect(writer)
    house = House(tmp_path / "rules", file_roots=(tmp_path,))
    try:
        options = f'DATASOURCE="incident", TYPE="opqmauka", EXTRA="{{\\"url\\": \\"{address["pub"]}\\"}}"'
        house.ask("POST", "/streams", {"sql": f"CREATE STREAM incidents () WITH ({options})"}, 201)
        sql = "SELECT id, kind, severity, change, box_ids FROM incidents WHERE severity > 5 OR isNull(kind)"
        out = tmp_path / "out.jsonl"
        rule = {"id": "grave", "sql": sql, "actions": [{"file": {"path": str(out)}}]}
        house.ask("POST", "/rules", rule, 201)

        def arrived():
            for body in (
                published(NEW, 1, "sag", 2.5),
                published(CHANGED, 1, "interruption", 7.5),
                published(GONE, 2),
                b"\xff no message",
            ):
                writer.send_multipart([b"incident", body])
            writer.send_multipart([b"incident_of_others", published(NEW, 3, "swell", 9.0)])
            return out.exists() and out.read_text().count("\n") >= 2

        until(arrived)
        rows = [json.loads(line) for line in out.read_text().splitlines()[:2]]
        assert rows[0] == {
            "id": 1,
            "kind": "interruption",
            "severity": 7.5,
            "change": "incident_changed",
            "box_ids": ["1", "4"],
        }
        assert (rows[1]["id"], rows[1]["change"]) == (2, "incident_gone")
        until(lambda: house.ask("GET", "/rules/grave/status")["source_incidents_0_exceptions_total"])
    finally:
        house.stop()
        writer.close(linger=0)


def test_messages_of_an_analysis_are_rows_too():
    text = json.dumps({"analysis": "peak", "box_id": "4", "values": {"peak_v": 171.5}})
    row = opqmauka.row_of(MaukaMessage(analysis_json=text).SerializeToString())
    assert row == {"peak_v": 171.5, "box": "4", "analysis": "peak"}


@pytest.mark.parametrize(
    "values",
    ['{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}', '{"a": "\\ud800"}', "[1]", "7", "[" * 9000, "1" * 9000],
)
def test_impossible_values_are_no_row(values):
    text = '{"analysis": "peak", "box_id": "4", "values": ' + values + "}"
    with pytest.raises(FrameError):
        opqmauka.row_of(MaukaMessage(analysis_json=text).SerializeToString())


def test_the_default_bus_is_the_services(bus, wire, until):
    """Without a url it reads the bus of its service."""
    source, whose = opqmauka.Source(bus.pub), Whose()
    source.configure("incident", {})
    thread = threading.Thread(target=source.open, args=(whose,))
    thread.start()
    writer = wire.publisher(bus.sub)

    def arrived():
        writer.send_multipart([b"incident", published(NEW, 5, "sag", 3.0)])
        return whose.rows

    try:
        assert until(arrived)[0]["kind"] == "sag"
    finally:
        whose.end.set()
        thread.join(240)
    assert not thread.is_alive()


@pytest.mark.parametrize("datasource", ["laha_gc", "", "analysis.", "incidents"])
def test_another_topic_is_refused_with_what_is_allowed(datasource):
    with pytest.raises(ValueError, match=r"want incident or analysis\.NAME"):
        opqmauka.Source().configure(datasource, {})
    with pytest.raises(ValueError, match="tcp://"):
        opqmauka.Source().configure("incident", {"url": "localhost"})
    with pytest.raises(ValueError, match="missing"):
        opqmauka.Source().configure("incident", {"url": "tcp://127.0.0.1:9883?curve=/nowhere"})

"""What a gateway lost on a full disk reaches the cloud over real sockets: store, report, page and status."""

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from open_view import open_services

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import BoxRecord, open_store
from opq_cloud.view.app import create_app
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring import ledger as ledger_module
from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.ledger import Ledger, LedgerWriter
from opq_gateway.measuring.ledger_rows import LedgerRows, kinds_of
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.measurement.wire import measurement_to_wire, sequence_tail
from opq_proto.messages import Measurement, TimeSource
from opq_tools.boxes.boxes_command import command as boxes_command
from opq_tools.reports.reports_command import command as report_command
from opq_tools.system.status import system_status

MONDAY_NS = 1_733_702_400 * 10**9
"""2024-12-09, UTC."""
TEN_NS = 600 * 10**9
HELD = 5
"""Rows that wait for the full disk."""
LOST = "1 lost 15 values of ten minutes from 2024-12-10 00:00:00 to 2024-12-10 02:30:00 UTC"


def ten(at: int) -> Values:
    start_ns = MONDAY_NS + at * TEN_NS
    values = {"rms_v": 230.0, "coverage_ratio": 1.0}
    return Values("1", "10min", start_ns, start_ns + TEN_NS, 1000, TimeSource.GPS, False, values)


def sent_of_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Measurement]:
    """What a gateway sends whose disk was full for the first 20 ten minutes of the Tuesday."""
    monkeypatch.setattr(ledger_module, "MAX_REFUSED", HELD)
    ledger, writer = Ledger(folder, "1", 24.0, 30.0), LedgerWriter()
    writer.add(BoxCounters(), ledger, BoxStatus("1", 10))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for at in range(200):
        ledger.append(ten(at))
        with monkeypatch.context() as disk:
            if 144 <= at < 164:
                disk.setattr(os, "write", full)
            writer.write()
    rows = LedgerRows(ledger, kinds_of(("10min",)), {})
    rows.read_ahead()
    while (record := rows.take()) is not None:
        yield from record.rows
        rows.read_ahead()


def test_a_loss_is_named_in_the_cloud(makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until somebody notes that it was seen."""
    rows = list(sent_of_a_full_disk(tmp_path / "gateway", monkeypatch))
    assert [each.lost.rows for each in rows if each.lost] == [20 - HELD]
    place, brokers = tmp_path / "D", makai.brokers()
    shared = CloudContext(lambda: open_store(None, place))
    config = TriggeringServiceSection(
        measurement_endpoint=brokers.triggering_config.backend_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
        batch_ms=20,
        ack_interval_s=0.1,
    )
    service = TriggeringService(config, shared, DEFAULT_NOMINAL)
    with makai.running(brokers.triggering), makai.running(brokers.acquisition), makai.running(service):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
        makai.wait_for(lambda: makai.arrives(box, client) and service.counters.total("received"))
        for number, row in enumerate(rows, 7):
            box.pub.send_multipart([b"0001", measurement_to_wire(row) + sequence_tail(number, 7, False)])
        last = 7 + len(rows) - 1
        makai.wait_for(lambda: shared.store.intervals.highest_sequence("1") == last)
        makai.wait_for(lambda: any(f"{last}" == each for each in acknowledged(box)))
        box.pub.send_multipart([b"0001", measurement_to_wire(rows[-1]) + sequence_tail(last + 1, 7, False)])
        makai.wait_for(lambda: shared.store.intervals.highest_sequence("1") == last + 1)
    shared.store.put_box(BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0))
    shared.close()
    assert [name for name, text in said(place).items() if LOST not in text] == []
    again = CliRunner().invoke(boxes_command, ["lost", "--seen", "--data-dir", str(place)])
    assert LOST.partition(" lost ")[2] in again.output and again.exit_code == 0
    after = said(place)
    assert [name for name, text in after.items() if LOST in text] == []
    assert (
        "not measured: Tue 2024-12-10 00:00 to Tue 2024-12-10 02:30" in after["report"]
        and "02:30:00" in after["page"]
    ), "the hole stays"


def acknowledged(box: Any) -> Iterator[str]:
    while box.sub.poll(0):
        command = box.command()
        if command is not None and command.send_command_to_plugin.plugin_name == "opq-ack":
            yield command.send_command_to_plugin.message


def said(place: Path) -> dict[str, str]:
    """Report, page and status, as texts."""
    week = ["--box", "1", "--week", "2024-W50", "--zone", "UTC", "--data-dir", str(place)]
    report = CliRunner().invoke(report_command, [*week, "--format", "html"])
    assert report.exit_code == 0, report.output
    with closing(open_store(None, place)) as store, TestClient(create_app(open_services(store))) as client:
        page = client.get("/past?box=1&q=rms_v&from=2024-12-09T12:00&to=2024-12-10T12:00&zone=UTC")
    assert page.status_code == 200
    notes = "\n".join(system_status(place, 0)["notes"])
    return {"report": report.output, "page": page.text, "status": notes.replace(": ", " lost ", 1)}

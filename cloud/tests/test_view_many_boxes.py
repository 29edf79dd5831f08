"""Pages where there are many Boxes: an incident at twelve, a front page of hundreds."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import demo
import httpx
import pytest
from open_view import open_services

from opq_cloud.store import BoxRecord, open_store
from opq_cloud.view.app import create_app
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_proto.messages import BoxSide, Incident, Measurement, Metric

BOXES = 230


@pytest.fixture
def services(tmp_path: Path) -> Iterator[ViewServices]:
    with closing(open_store(None, tmp_path)) as store:
        yield open_services(store)


def pages(services: ViewServices, *paths: str) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [await client.get(path) for path in paths]

    return asyncio.run(ask())


def put_wide_sag(services: ViewServices) -> Incident:
    """At twelve Boxes, less and less deep."""
    wave = demo.waveform_of(demo.OUTLETS[0], time.time_ns())
    shallow = [(256 - 8 * number) / 256 for number in range(12)]
    waves = [
        replace(wave, box_id=str(number + 1), v_per_lsb=wave.v_per_lsb * share)
        for number, share in enumerate(reversed(shallow))
    ]
    found = demo.put_event(services.store, waves, "wide")
    assert found is not None and len(found.box_ids) >= 8
    return found


def test_the_most_affected_boxes_are_drawn_large(
    services: ViewServices,
) -> None:
    """An incident of many Boxes draws the most affected and the others small."""
    incident = put_wide_sag(services)
    path = f"/incidents/{incident.incident_id}"
    (answer,) = pages(services, path)
    folded = answer.text
    assert folded.count('class="trace trace-') == 8  # four Boxes
    small = re.findall(r'id="small-(\d+)".*?small-line" d="(M[^"]+)"', folded, re.DOTALL)
    assert len(small) == 8 and all(line.count("L") > 10 for _, line in small)
    assert "<strong>Box 1</strong> time by" in folded  # scaled down the most
    table, more = folded.split("more findings", 1)
    assert table.count('href="/boxes/') == 6 and more.count('href="/boxes/') == len(incident.findings) - 6
    assert f"{len(incident.box_ids)} Boxes, all alike" in folded  # one line for their time


def test_an_incident_names_its_downstream_boxes(services: ViewServices) -> None:
    """An incident says which Boxes are fed through its place."""
    from opq_cloud.view.pages.incidents.facts_table import facts_of_whole

    incident = put_wide_sag(services)
    sides = (BoxSide("10", "upstream", 0.97), BoxSide("2", "upstream", 0.97), BoxSide("7", "downstream", 0.7))
    facts = dict(facts_of_whole(replace(incident, sides=sides)))
    assert facts["Seen from its place"] == [
        "downstream, fed through it: Box 7 (70%)",
        "upstream, not fed through it: Boxes 2 and 10 (97%)",
    ]


def test_an_incident_states_a_failed_analysis(
    services: ViewServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event is not marked until all analyses have seen it."""
    with monkeypatch.context() as failed:
        failed.setattr(services.store, "mark_analysed", lambda *_: False)
        incident = put_wide_sag(services)
    address = f"/incidents/{incident.incident_id}"
    (partly,) = pages(services, address)
    assert services.store.mark_analysed(incident.event_ids[0])
    (whole,) = pages(services, address)
    assert ["not wholly analysed" in each.text for each in (partly, whole)] == [True, False]


def test_many_boxes_are_paged_silent_first(services: ViewServices) -> None:
    """A hundred rows to a page."""
    now_ms = time.time_ns() // 1_000_000
    for number in range(1, BOXES + 1):
        services.store.put_box(BoxRecord(str(number), ""))
        if number == 200:
            continue  # never heard
        metrics = {"rms": Metric(119.0, 121.0, 120.0 + number / 100), "f": Metric(59.9, 60.1, 60.0)}
        row = Measurement(box_id=str(number), timestamp_ms=now_ms, metrics=metrics)
        services.hub.accept_measurement(row, received_ms=now_ms)
    first, third, none = pages(services, "/", "/?page=3", "/?page=4")
    assert [answer.status_code for answer in (first, third, none)] == [200, 200, 404]
    boxes = re.findall(r'data-box="(\d+)"', first.text)
    assert boxes[:3] == ["200", "1", "2"] and len(boxes) == 100
    assert re.findall(r'data-box="(\d+)"', third.text)[-1] == "230"
    assert "230 Boxes, 229 of them reporting now." in first.text
    assert "1 to 100 of 230" in first.text and "201 to 230 of 230" in third.text
    assert '<span data-value="percent">100.0</span>' in first.text
    assert len(first.content) < 110_000


def test_of_many_boxes_the_filter_takes_a_number(services: ViewServices) -> None:
    for number in range(BOXES):
        services.store.put_box(BoxRecord(str(number + 1), f"house {number + 1}"))
    plain, asked = (answer.text for answer in pages(services, "/incidents", "/incidents?box=17"))
    assert '<input name="box" value=""' in plain and '<input name="box" value="17"' in asked
    assert "house 17" not in plain

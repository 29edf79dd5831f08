"""Makai's and Mauka's own code under a virtual clock: events and incidents without sockets and waiting."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.store import open_store
from opq_cloud.store.store import CloudStore
from opq_proto.messages import Measurement, Metric, TimeSource, Waveform
from opq_sim.mains import mains
from opq_sim.mains.rms_events import Sag
from opq_tools.sim.history.virtual_cloud import VirtualCloud

START_NS = 1_700_000_000_000_000_000
DIP_S = 30.0
RATE_HZ = 12_000.0
V_PER_LSB = 0.01


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def samples(box_id: str, start_ns: int, end_ns: int, cycles: int = 10) -> Waveform:
    """Samples of a socket at which half the voltage is lost for a while; Boxes 1 and 2 see it."""
    first = round((start_ns - START_NS) / 1e9 * RATE_HZ)
    dips = [Sag(depth=0.5, start_s=DIP_S, cycles=cycles)] if box_id in "12" else []
    volts, _ = mains(60.0, RATE_HZ, disturbances=dips)
    counts = np.rint(volts / V_PER_LSB).astype(np.int16)[first : round((end_ns - START_NS) / 1e9 * RATE_HZ)]
    at_ns = START_NS + round(first / RATE_HZ * 1e9)
    return Waveform(box_id, at_ns, 1000, TimeSource.GPS, 12_000_000, V_PER_LSB, first, counts)


def second(number: int, dip_s: int = 1) -> list[Measurement]:
    """A Measurement a second of each of three Boxes, low in the first `dip_s` of the dip."""
    rows = []
    for box_id in "123":
        low_v = 60.0 if box_id in "12" and 0 <= number - DIP_S < dip_s else 120.0
        end_ns = START_NS + (number + 1) * 10**9
        high_v = low_v if dip_s > 3 else 120.0
        metrics = {"rms": Metric(low_v, high_v, high_v), "f": Metric(60.0, 60.0, 60.0)}
        rows.append(
            Measurement(
                box_id,
                end_ns // 10**6,
                metrics,
                end_ns - 10**9,
                end_ns,
                1000,
                TimeSource.GPS,
                nominal_v=120.0,
                nominal_hz=60.0,
            )
        )
    return rows


def play(cloud: VirtualCloud, first: int, last: int, dip_s: int = 1) -> None:
    for number in range(first, last):
        rows = second(number, dip_s)
        cloud.accept_measurements(rows, float(number + 1))
        cloud.store_accepted()
        cloud.answer_events(START_NS + (number + 1) * 10**9)


def test_a_dip_is_one_event_and_incident(
    store: CloudStore,
) -> None:
    """The event has all Boxes, the incident those that saw the dip."""
    cloud = VirtualCloud(CloudConfig(), store, samples)
    play(cloud, 0, 60)
    cloud.finish(60.0)
    (event,) = store.events()
    assert (event.finished, event.analysed, event.boxes_received) == (True, True, ("1", "2", "3"))
    (incident,) = store.incidents()
    assert (incident.kind, incident.box_ids) == ("sag", ("1", "2"))
    assert incident.residual_percent == pytest.approx(50.0, abs=1.0)
    assert abs(incident.start_ns - START_NS - DIP_S * 1e9) < 20e6
    assert store.counts()["measurements"] == 180
    assert {len(store.trends(box_id, 0, 1 << 50)) for box_id in "123"} == {2}


@pytest.mark.parametrize("stopped", [29, 31, 32, 45])
def test_a_resumed_history_doubles_no_event(store: CloudStore, stopped: int) -> None:
    play(VirtualCloud(CloudConfig(), store, samples), 0, stopped)
    again = VirtualCloud(CloudConfig(), store, samples)
    again.resume(float(stopped - 5))
    play(again, stopped - 5, 60)  # what was not noted as done is done again
    again.finish(60.0)
    assert [event.analysed for event in store.events()] == [True]
    assert [incident.kind for incident in store.incidents()] == ["sag"]
    assert store.counts()["measurements"] == 180


def test_a_box_without_samples_names_the_reason(store: CloudStore) -> None:
    def answer(box_id: str, start_ns: int, end_ns: int) -> Waveform | None:
        return None if box_id == "3" else samples(box_id, start_ns, end_ns)

    cloud = VirtualCloud(CloudConfig(), store, answer)
    play(cloud, 0, 40)
    (event,) = store.events()
    assert event.missing == {"3": "no samples of this span"}


@pytest.mark.parametrize("last", [60, 33], ids=["live", "at the end of the history"])
def test_a_long_dip_is_requested_completely(store: CloudStore, last: int) -> None:
    def answer(box_id: str, start_ns: int, end_ns: int) -> Waveform:
        return samples(box_id, start_ns, end_ns, cycles=150)  # 2.5 s

    cloud = VirtualCloud(CloudConfig(), store, answer)
    play(cloud, 0, last, dip_s=3)
    cloud.finish(float(last))
    (event,) = store.events()
    assert {each.state for each in event.more.values()} == {"asked"} and sorted(event.owed) == ["1", "2"]
    found = store.event(event.event_id)
    assert found is not None
    assert [wave.end_ns > START_NS + 34 * 10**9 for wave in found.waveforms] == [True, True, False]
    assert event.finished and event.analysed and store.events_with_requests() == []
    (incident,) = store.incidents()
    assert (incident.closed, incident.box_ids) == (True, ("1", "2"))
    assert (incident.end_ns - incident.start_ns) / 1e9 == pytest.approx(2.5, abs=0.05)


def test_a_long_dips_two_ends_are_one_incident(store: CloudStore) -> None:
    def answer(box_id: str, start_ns: int, end_ns: int) -> Waveform:
        return samples(box_id, start_ns, end_ns, cycles=25 * 60)

    cloud = VirtualCloud(CloudConfig(), store, answer)
    for number in range(75):  # Measurements reach the store after the answers, as they do by the minute
        cloud.accept_measurements(second(number, 25), float(number + 1))
        cloud.answer_events(START_NS + (number + 1) * 10**9)
    cloud.store_accepted()
    cloud.finish(75.0)
    (incident,) = store.incidents()
    assert (incident.closed, incident.box_ids) == (True, ("1", "2"))
    assert (incident.end_ns - incident.start_ns) / 1e9 == pytest.approx(25.0, abs=0.05)

"""Samples are judged by what their start stated, whatever the Box states now."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from opq_cloud.mauka.running.calls.event_analysis import analyse_stored
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.box_record import BoxRecord
from opq_proto.decision import Nominal
from opq_proto.messages import TimeSource, Trigger, Waveform

START_NS = 1_795_000_000 * 10**9
CONFIGURED = Nominal(120.0, 60.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def put_steady(
    store: CloudStore, volts: float, hz: float, residual: float = 1.0, is_stated: bool = True
) -> int:
    """An event of Box 1: 3 s of a sine, 0.2 s of it at `residual`, stated as nominal."""
    t_s = np.arange(36_000) / 12_000
    wave = np.sqrt(2) * volts * np.sin(2 * np.pi * hz * t_s)
    wave[(t_s >= 1.0) & (t_s < 1.2)] *= residual
    counts = np.round(wave / 0.02).astype(np.int16)
    samples = Waveform("1", START_NS, 1000, TimeSource.GPS, 12_000_000, 0.02, 70_000, counts)
    stated = replace(samples, start_id=7, nominal_v=volts, nominal_hz=hz) if is_stated else samples
    number = store.next_event_id()
    trigger = Trigger(f"t{number}", samples.start_ns, samples.end_ns, ("1",), "1", "test")
    event_id = store.open_event(trigger, "test", number)
    store.put_waveform(event_id, stated)
    store.finish_event(event_id)
    return event_id


def found(store: CloudStore, event_id: int, present_nominal: bool = False) -> list[tuple[str, int | None]]:
    analyses = load_analyses([("rms_voltage", {})])
    (result,) = analyse_stored(store, [event_id], analyses, CONFIGURED, present_nominal=present_nominal)
    return [
        (one.kind, None if one.residual_percent is None else round(one.residual_percent))
        for one in result.findings
    ]


@pytest.mark.parametrize(("then", "now"), [((120.0, 60.0), (230.0, 50.0)), ((230.0, 50.0), (120.0, 60.0))])
def test_a_moved_box_makes_no_disturbance(
    store: CloudStore, then: tuple[float, float], now: tuple[float, float]
) -> None:
    event_id = put_steady(store, *then)
    store.put_box(BoxRecord("1", "", nominal_v=now[0], nominal_hz=now[1]))
    assert found(store, event_id) == []


def test_a_true_sag_survives_a_move(store: CloudStore) -> None:
    event_id = put_steady(store, 230.0, 50.0, residual=0.12)
    store.put_box(BoxRecord("1", "", nominal_v=120.0, nominal_hz=60.0))
    assert found(store, event_id) == [("sag", 12)]


def test_a_correction_counts_for_the_past(store: CloudStore) -> None:
    """Only if a person says so."""
    event_id = put_steady(store, 120.0, 60.0)
    store.put_box(BoxRecord("1", "", nominal_v=100.0, nominal_hz=60.0))
    assert found(store, event_id) == []
    assert [kind for kind, _ in found(store, event_id, present_nominal=True)] == ["swell"]


def test_an_event_has_the_facts_of_then(store: CloudStore) -> None:
    """Box 1 has been at another voltage since a day after; its samples state none."""
    event_id = put_steady(store, 230.0, 50.0, 0.7, is_stated=False)
    store.put_box(BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0))
    store.put_box(BoxRecord("1", "", nominal_v=400.0), START_NS // 10**6 + 86_400_000)
    assert found(store, event_id) == [("sag", 70)]

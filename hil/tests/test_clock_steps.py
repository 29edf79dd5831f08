"""A gateway's clock is wrong until the GPS of its Box locks: each dip is one event, with its own samples.

From Measurement to stored event by the index of the samples, which no clock changes. The rows run at the same
time, each with its own cloud.
"""

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fleet_cloud import FleetCloud, wait_for
from in_thread import in_thread

from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.store.event_record import EventRecord
from opq_gateway import config, gateway
from opq_measure.rms import half_cycle_rms_v
from opq_proto.messages import Waveform
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_sim.mains.generator import Generator
from opq_sim.mains.grid_events import Recurring
from opq_sim.mains.on_demand import numbers_for, on_demand

RATE, S = 12_000, 10**9
AHEAD_S = (-10_800.0, 10.6, 3603.0, -4.2)
"""The gateway's clock: three hours behind, some seconds and an hour ahead, some seconds behind."""
LOCKS_S = 7.3
DIPS_S = (6.8, 9.8)
"""The first one 0.5 s before the lock: its request comes after the step."""
CYCLES = 10


def dipping_box() -> Box:
    dip = on_demand("sag", numbers_for("sag", {"depth": 0.3, "cycles": CYCLES}), 120.0, 60.0)
    assert not isinstance(dip, tuple)
    dips = tuple(Recurring(replace(dip, start_cycles=0.0), at_s, 1e6) for at_s in DIPS_S)
    return Box("1", Generator(seed=1, recurring=dips), locks_after_s=LOCKS_S)


def configured(folder: Path, cloud: FleetCloud, port: str) -> config.Config:
    lines = [
        f'data_dir = "{folder}"',
        'health_endpoint = "127.0.0.1:0"',
        "[uplink]",
        f'trigger_endpoint = "{cloud.endpoints.trigger}"',
        f'command_endpoint = "{cloud.endpoints.command}"',
        f'response_endpoint = "{cloud.endpoints.response}"',
        "[[box]]",
        'id = "1"',
        f'port = "{port}"',
    ]
    path = folder / "gateway.toml"
    path.write_text("\n".join(lines))
    return config.load(path)


def residual(wave: Waveform) -> float:
    """The least rms of a cycle, as a share of 120 V."""
    edges = np.arange(0, len(wave.counts), 100.0)
    return float(half_cycle_rms_v(wave.counts * wave.v_per_lsb, edges).min()) / 120.0


def events_of(cloud: FleetCloud) -> list[EventRecord]:
    return sorted(
        (each for each in cloud.shared.store.events() if each.finished), key=lambda one: one.event_id
    )


def assert_two_dips(cloud: FleetCloud, ahead_s: float, truth_ns: int) -> None:
    store, events = cloud.shared.store, cloud.events
    assert events is not None
    records = events_of(cloud)
    assert len(records) == len(DIPS_S), [record.because for record in records]
    for record, dip_s in zip(records, DIPS_S, strict=True):
        [wave] = store.event(record.event_id).waveforms
        first, end = wave.first_sample, wave.first_sample + len(wave.counts)
        onset, dip = record.onset_sample, round(dip_s * RATE)
        assert onset is not None and onset - RATE <= dip <= onset + RATE
        assert first + RATE // 2 < dip and dip + CYCLES * 200 + RATE // 2 < end
        assert (record.short, record.missing, wave.gaps) == ({}, {}, ())
        asked = (record.end_ns - record.start_ns) * RATE // S
        assert asked <= len(wave.counts) <= asked + 424  # to whole ms, and to Cycles, at both ends
        assert residual(wave) == pytest.approx(0.7, abs=0.01)
        assert abs(wave.start_ns - truth_ns - first * S // RATE) < 100_000  # its true UTC
        assert wave.start_ns <= record.start_ns and record.end_ns <= wave.end_ns
        assert wave.source.name == ("HOLDOVER" if first < LOCKS_S * RATE else "GPS")
    assert events.counters.total("waveforms_stored") == len(DIPS_S)
    assert events.counters.total("answers_short") == events.counters.total("asked_again") == 0
    assert events.counters.total("events_moved") == 1


def test_each_dip_is_one_event_by_any_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shifts = list(AHEAD_S)
    begun = gateway.Clocks

    def clocks(**more: object) -> object:
        ahead_ns = round(shifts.pop(0) * S)
        return begun(now_ns=lambda: time.time_ns() + ahead_ns, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(gateway, "Clocks", clocks)
    with ExitStack() as running:
        rows = []
        for number, ahead_s in enumerate(AHEAD_S):
            folder = tmp_path / str(number)
            folder.mkdir()
            cloud = FleetCloud(folder, ["1"])
            cloud.plugins = (PluginEntry(name="threshold"),)
            running.callback(cloud.close)
            running.enter_context(cloud.running())
            host = BoxHost([dipping_box()])
            running.enter_context(host)
            made = gateway.Gateway(configured(folder, cloud, host.ports["1"]))
            running.enter_context(in_thread(made.run))
            left = len(AHEAD_S) - number - 1
            wait_for(lambda left=left: len(shifts) == left, "the gateway has its clock")
            rows.append((cloud, ahead_s, host))
        for cloud, _, _ in rows:
            wait_for(lambda cloud=cloud: len(events_of(cloud)) >= len(DIPS_S), "both dips are events")
        for cloud, ahead_s, host in rows:
            assert_two_dips(cloud, ahead_s, host.clock.start_ns)

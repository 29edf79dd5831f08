"""The whole gateway on real ptys and real CURVE sockets; a plain pyzmq peer plays Makai.

The same suite over a clean pty and over one like a bad cable: 921,600 baud, reads of 1 to 64
bytes, one byte in 100,000 wrong.
"""

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from free_ports import free_port
from in_thread import in_thread
from waiting import wait_for

from opq_gateway import config
from opq_gateway.gateway import Gateway
from opq_gateway.measuring.box_interruptions import RESTART_SAID
from opq_gateway.software_version import software_version
from opq_proto.keys.key_files import KeyFolder, read_key_file
from opq_proto.messages import Waveform
from opq_proto.wire.frames import (
    command_from_wire,
    data_command,
    info_command,
    plugin_command,
    rate_command,
    response_from_wire,
    waveform_from_frames,
)
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_sim.box.wire_faults import HARDWARE, LineFaults
from opq_sim.mains.generator import Generator

WIRES = [pytest.param(None, id="clean"), pytest.param(HARDWARE, id="hardware")]


def configured(tmp_path: Path, makai: Any, ports: dict[str, str], **more: object) -> config.Config:
    """A configuration file, loaded."""
    lines = [f'data_dir = "{tmp_path}"', 'health_endpoint = "127.0.0.1:0"']
    lines += [f"{key} = {value}" for key, value in more.items()]
    lines += ["[uplink]", *(f'{key} = "{value}"' for key, value in makai.endpoints.items())]
    for box_id, port in ports.items():
        lines += ["[[box]]", f'id = "{box_id}"', f'port = "{port}"']
    path = tmp_path / "gateway.toml"
    path.write_text("\n".join(lines))
    return config.load(path)


@contextmanager
def running(configuration: config.Config) -> Iterator[Gateway]:
    gateway = Gateway(configuration)
    with in_thread(gateway.run, until_ready=True):
        yield gateway


def truth(box_id: str, first: int, count: int) -> np.ndarray:
    """What the simulated Box with this id sampled."""
    return Generator(seed=int(box_id)).counts(first, count)


def ask(makai: Any, box_id: str, body: bytes, seq: int) -> None:
    command = command_from_wire(body)
    command.seq = seq
    makai.command(box_id.encode(), command.SerializeToString())


def answer(makai: Any, seq: int) -> list[bytes]:
    def found() -> list[bytes] | None:
        for frames in list(makai.answers):
            if response_from_wire(frames[0]).seq == seq:
                return frames
        return None

    return wait_for(found)  # type: ignore[return-value]


def assert_true_samples(wave: Waveform) -> None:
    """Bit-exact against the generator, run by run."""
    for run in wave.runs():
        expected = truth(wave.box_id, run.first_sample, len(run.counts))
        assert np.array_equal(run.counts, expected)


@pytest.mark.parametrize("wire", WIRES)
def test_measurements_and_samples_arrive_whole_over_the_wire(
    wire: LineFaults | None, tmp_path: Path, makai: Any, keys: KeyFolder
) -> None:
    host = BoxHost([Box("1"), Box("2")], faults=wire)
    with host, running(configured(tmp_path, makai, host.ports)) as gateway:
        wait_for(lambda: len(makai.measurements) >= 8)
        for box_id in ("1", "2"):
            ours = [m for m in makai.decoded() if m.box_id == box_id]
            assert all(topic in (b"0001", b"0002") for topic, _ in makai.measurements)
            heard_start = gateway.statuses[box_id].started is not None  # where the port was open before
            for at, m in enumerate(ours):
                told = {"restart_cause"} if heard_start and at < RESTART_SAID else set()
                if not was_late(host, gateway, box_id):
                    assert set(m.metrics) - told == {"rms", "f", "thd", "trans"}
                assert m.metrics["rms"].average == pytest.approx(120.0, rel=2e-3)
                assert m.metrics["f"].average == pytest.approx(60.0, abs=0.02)
                assert m.start_ns is not None and m.end_ns is not None
                if not was_late(host, gateway, box_id):
                    assert m.end_ns - m.start_ns == pytest.approx(1e9, rel=2e-3)
                assert m.timestamp_ms == round(m.end_ns / 1e6)
                assert m.uncertainty_ns is not None and m.oldest_sequence == ours[0].sequence
                assert not m.crossing
                assert not m.backfilled or gateway.counters[box_id]["measurements_unheard"]
            numbers = [m.sequence for m in ours]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            for one, next_one in pairwise(ours):  # nothing between them: no sample was lost
                assert next_one.start_ns == one.end_ns or was_late(host, gateway, box_id)
        end_ns = makai.decoded()[-1].end_ns
        ask(makai, "1", data_command("1", end_ns - 2_000_000_000, end_ns, "data_x_y"), 77)
        header, wave = waveform_from_frames(answer(makai, 77)[0], answer(makai, 77)[1:])
        assert wave is not None and header.box_id == 1
        assert len(wave.counts) % 200 == 0
        assert not wave.gaps or was_late(host, gateway, "1")
        assert wave.start_ns <= end_ns - 2_000_000_000 and wave.end_ns >= end_ns
        assert len(wave.counts) <= 24_000 + 600
        assert wave.v_per_lsb == Generator().v_per_lsb and wave.rate_millihz == 12_000_000
        assert_true_samples(wave)
        data = header.get_data_response
        assert data.available_start_ns <= wave.start_ns and data.available_end_ns >= end_ns
        cycles = answer(makai, 77)[1:]
        missing = sum(gap.samples for gap in wave.gaps) // 200  # as frames of the line, which are cycles
        assert data.start_ts > 0 and data.end_ts - data.start_ts == pytest.approx(
            (len(cycles) + missing - 1) * 50 / 3, abs=2
        )
        for box_id in ("1", "2"):
            counted = gateway.counters[box_id].snapshot()
            if not was_late(host, gateway, box_id):
                assert counted["missing_samples"] == 0 and counted["gaps"] == 0
            assert counted["measurements_overflow"] == counted["failures"] == counted["ring_failed"] == 0
            assert counted["box_figures_differ"] == 0


def was_late(host: BoxHost, gateway: Gateway, box_id: str) -> bool:
    """Whether this machine was too busy for the gateway to read a Box's line in time: a byte that the wire
    changed then costs its block, which the Box no longer holds when it is asked for it."""
    return bool(host.lost_bytes(box_id) or gateway.counters[box_id]["stalls"])


LATER_NS = 100 * 10**9
"""More than a busy machine needs for an answer."""


def test_a_future_request_is_answered_in_time(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    """When its samples are there."""
    host = BoxHost([Box("1")])
    with host, running(configured(tmp_path, makai, host.ports)):
        wait_for(lambda: makai.measurements)
        since_ns = makai.decoded()[-1].end_ns - 500_000_000  # on a busy machine the ring may be late
        now_ns = time.time_ns()
        ask(makai, "1", data_command("1", since_ns, now_ns + 1_000_000_000, "data_x_y"), 1)
        ask(makai, "1", data_command("1", since_ns, now_ns + LATER_NS, "data_x_y", wait=False), 2)
        _, part = waveform_from_frames(answer(makai, 2)[0], answer(makai, 2)[1:])
        assert time.time_ns() < now_ns + LATER_NS, "it was not waited for"
        assert part is not None and part.end_ns < now_ns + LATER_NS
        reasons = [gap.reason for gap in response_from_wire(answer(makai, 2)[0]).get_data_response.gap]
        assert reasons == ["not sampled yet when the answer was due"]
        _, whole = waveform_from_frames(answer(makai, 1)[0], answer(makai, 1)[1:])
        assert whole is not None and whole.end_ns >= now_ns + 1_000_000_000 and not whole.gaps
        assert_true_samples(whole)


def test_absent_samples_are_answered_with_a_reason(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    host = BoxHost([Box("1")])
    with host, running(configured(tmp_path, makai, host.ports, longest_request_s=2.0)) as gateway:
        end_ns = wait_for(lambda: makai.measurements and makai.decoded()[0].end_ns)
        old = 1_500_000_000_000_000_000
        ask(makai, "1", data_command("1", old, old + 10**9, "i"), 1)
        ask(makai, "1", data_command("1", end_ns - 10**10, end_ns, "i", wait=False), 2)
        ask(makai, "1", data_command("1", end_ns, end_ns - 10**9, "i"), 3)
        frames = answer(makai, 1)
        assert len(frames) == 1
        data = response_from_wire(frames[0]).get_data_response
        assert (data.start_ts, data.end_ts) == (0, 0)
        assert [gap.reason for gap in data.gap] == ["older than the ring holds"]
        assert data.available_end_ns > data.available_start_ns > 0
        frames = answer(makai, 2)  # of the 10 s the one that the ring holds
        gaps = response_from_wire(frames[0]).get_data_response.gap
        assert len(frames) > 50  # none is missing where the ring holds the Box's very first sample
        assert {gap.reason for gap in gaps} <= {"older than the ring holds"}
        assert len(answer(makai, 3)) == 1
        assert gateway.counters["1"]["requests_shortened"] == 0
        ask(makai, "1", data_command("1", old, end_ns + 10**10, "i", wait=False), 4)
        gaps = response_from_wire(answer(makai, 4)[0]).get_data_response.gap
        assert gaps[-1].reason in (
            "the request is longer than one answer may be",
            "not sampled yet when the answer was due",
        )
        assert gateway.counters["1"]["requests_shortened"] == 1


def test_info_rate_and_plugin_commands(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    host = BoxHost([Box("1")])
    with host, running(configured(tmp_path, makai, host.ports)) as gateway:
        wait_for(lambda: makai.measurements)
        ask(makai, "1", info_command("1", "i"), 1)
        info = response_from_wire(answer(makai, 1)[0]).info_response
        assert info.calibration_constant == round(1 / Generator().v_per_lsb)
        assert info.pub_key.encode() == read_key_file(keys.box_public("1")).public
        assert info.firmware and info.hardware and info.software == software_version()
        assert info.measurement_rate == 60 and "127.0.0.1:0\n" in info.ip and info.uptime > 0
        ask(makai, "1", rate_command("1", 12, "i"), 2)
        assert response_from_wire(answer(makai, 2)[0]).message_rate_reponse.old_rate_cycles == 60
        ask(makai, "1", rate_command("1", 601, "i"), 3)
        assert response_from_wire(answer(makai, 3)[0]).message_rate_reponse.old_rate_cycles == 12
        wait_for(lambda: makai.decoded()[-1].end_ns - makai.decoded()[-1].start_ns < 250_000_000)
        ask(makai, "1", plugin_command("1", "opq-ack", "17,12-13", "i"), 4)
        ask(makai, "1", plugin_command("1", "napali", "x", "i"), 5)
        assert not response_from_wire(answer(makai, 5)[0]).command_to_plugin_response.ok
        assert gateway.statuses["1"].acknowledged_sequence == 17
        assert 4 not in [response_from_wire(frames[0]).seq for frames in makai.answers]
        counted = gateway.counters["1"].snapshot()
        assert counted["rate_refused"] == 1 and counted["acknowledgements"] == 1


def test_a_box_obeys_only_its_whole_id(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    host = BoxHost([Box("1"), Box("10")])
    with host, running(configured(tmp_path, makai, host.ports)) as gateway:
        wait_for(lambda: {m.box_id for m in makai.decoded()} == {"1", "10"})
        ask(makai, "10", info_command("10", "i"), 1)
        makai.command(b"1", b"\xff\xff\xff")
        makai.command(b"1", b"")
        assert response_from_wire(answer(makai, 1)[0]).box_id == 10
        wait_for(lambda: gateway.counters["1"]["commands"] == 3)
        wait_for(lambda: gateway.counters["1"]["commands_malformed"] == 1)
        wait_for(lambda: gateway.counters["1"]["commands_foreign"] == 2)  # an empty command names Box 0
        assert gateway.counters["10"]["commands_foreign"] == 0
        assert len([1 for frames in makai.answers if response_from_wire(frames[0]).seq == 1]) == 1
        # a topic that begins alike, zero padded ones, and a topic that lies about whom the command is for
        for seq, (topic, box_id) in enumerate(
            [(b"10", "1"), (b"100", "100"), (b"01", "1"), (b"0001", "1"), (b"1", "10"), (b"10", "1")],
            start=20,
        ):
            command = command_from_wire(info_command(box_id, "i"))
            command.seq = seq
            makai.command(topic, command.SerializeToString(), is_awaited=topic in (b"1", b"10"))
        ask(makai, "1", info_command("1", "i"), 30)
        assert response_from_wire(answer(makai, 30)[0]).box_id == 1
        ask(makai, "10", info_command("10", "i"), 31)
        assert response_from_wire(answer(makai, 31)[0]).box_id == 10
        late = [response_from_wire(frames[0]) for frames in makai.answers]
        # only what reached Box 1 and was meant for it
        assert sorted((r.seq, r.box_id) for r in late if 20 <= r.seq < 30) == [(20, 1), (25, 1)]


def test_health_and_metrics_tell_what_is_wrong(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    host = BoxHost([Box("1")])
    ports = {"1": "", "2": str(tmp_path / "absent")}
    with host:
        ports["1"] = host.ports["1"]
        free = free_port()
        configuration = configured(tmp_path, makai, ports)
        text = (tmp_path / "gateway.toml").read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{free}"')
        (tmp_path / "gateway.toml").write_text(text)
        configuration = config.load(tmp_path / "gateway.toml")
        with running(configuration) as gateway:
            wait_for(lambda: gateway.statuses["1"].problem(time.monotonic()) is None and makai.measurements)
            page = json.load(urllib.request.urlopen(f"http://127.0.0.1:{free}/", timeout=240))
            assert page["name"] == "gateway" and page["ok"] is False
            boxes = {part["name"]: part for part in page["subcomponents"]}
            assert boxes["1"]["ok"] is True and abs(boxes["1"]["timestamp"] - time.time()) < 60
            assert boxes["2"]["ok"] is False and "port not open" in boxes["2"]["info"]
            text = urllib.request.urlopen(f"http://127.0.0.1:{free}/metrics", timeout=240).read().decode()
            assert 'opq_gateway_measurements_sent_total{box_id="1"}' in text
            assert "# HELP opq_gateway_missing_samples_total" in text

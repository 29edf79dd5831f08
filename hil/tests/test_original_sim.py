"""The original's simulator: state, filters, type rule and frames, and its control over HTTP."""

import json
import math
import os
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_proto.errors import OpqError, PortBusyError
from opq_sim.original_sim.candidates import candidate_request, generated_counts
from opq_sim.original_sim.state import OriginalSim, OriginalSimError
from opq_sim.original_sim.stream import KEPT_FRAMES, OriginalSimControl, OriginalSimStream, sim_frame


def sine(amplitude: float, hz: float = 60.0, rate_hz: float = 12_000.0) -> np.ndarray:
    k = np.arange(200)
    return np.asarray(np.clip(np.rint(152 * amplitude * np.sin(2 * np.pi * hz * k / rate_hz)), -32768, 32767))


def peak(frame: np.ndarray) -> float:
    return float(np.max(np.abs(frame))) / 152


def test_the_first_frame_is_60_hz() -> None:
    """The first frame is 60 hz of 120 v and every frame begins at index 0."""
    sim = OriginalSim()
    assert np.array_equal(sim.frame(), sine(169.7056))
    sim.accept_request({"state": {"frequency": 50.0, "phase": 1.0}})
    first, second = sim.frame(), sim.frame()
    assert np.array_equal(first, sine(169.7056, 50.0)) and np.array_equal(first, second)


def test_a_value_needs_the_current_type() -> None:
    sim = OriginalSim()
    sim.accept_request({"state": {"frequency": 50, "amplitude": "100.0", "phase": True, "volume": 1.0}})
    assert sim.state == {"amplitude": 169.7056, "frequency": 60.0, "phase": 0.0, "sample_rate_hz": 12000.0}
    assert set(sim.ignored) == {"frequency", "amplitude", "phase", "volume"}
    sim.accept_request({"state": {"amplitude": 100.0, "sample_rate_hz": 6000.0}})
    assert np.array_equal(sim.frame(), sine(100.0, 60.0, 6000.0))


def test_counts_are_clipped_at_int16() -> None:
    sim = OriginalSim()
    sim.accept_request({"state": {"amplitude": 1000.0}})
    frame = sim.frame()
    assert (frame.min(), frame.max()) == (-32768, 32767)


def test_a_ramp_is_linear_to_its_target() -> None:
    sim = OriginalSim()
    sim.accept_request({"state": {"amplitude": 100.0}})
    sim.accept_request({"filters": [{"name": "vrms", "target_vrms": 60.0, "delay_samples": 400}]})
    target = 60.0 * math.sqrt(2)
    k = np.arange(200)
    wanted = (100 + (target - 100) * (k + 1) / 400) * np.sin(2 * np.pi * k / 200)
    assert np.max(np.abs(sim.frame() / 152 - wanted)) < 0.5 / 152 + 1e-9
    sim.frame()
    assert np.array_equal(sim.frame(), sine(target))
    assert sim.state["amplitude"] == target


def test_filters_follow_and_repeat() -> None:
    sim = OriginalSim()
    steps = [
        {"name": "vrms", "target_vrms": 50.0, "delay_samples": 0},
        {"name": "nop", "delay_samples": 300},
        {"name": "vrms", "target_vrms": 100, "delay_samples": 0},
        {"name": "nop", "delay_samples": 300},
    ]
    sim.accept_request({"filters": steps, "does_repeat": True})
    low, high = 50 * math.sqrt(2), 100 * math.sqrt(2)
    amplitudes = np.repeat([low, high] * 2, 300)
    for at in range(0, 1200, 200):
        wanted = 152 * amplitudes[at : at + 200] * np.sin(2 * np.pi * np.arange(200) / 200)
        assert np.array_equal(sim.frame(), np.rint(wanted))
    sim.accept_request({"reset": True})
    assert peak(sim.frame()) == peak(sim.frame())
    sim.accept_request({"filters": [steps[0], {"name": "nop", "delay_samples": 200}]})
    assert peak(sim.frame()) == pytest.approx(low, abs=0.01)


def test_instant_repeating_filters_do_not_hang() -> None:
    sim = OriginalSim()
    none = [{"name": "vrms", "target_vrms": 80.0, "delay_samples": 0}, {"name": "nop", "delay_samples": 0}]
    sim.accept_request({"filters": none, "does_repeat": True})
    assert peak(sim.frame()) == pytest.approx(80 * math.sqrt(2), abs=0.01)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ([1], "JSON object"),
        ({"filters": {"name": "nop"}}, "array"),
        ({"filters": [{"name": "sag", "delay_samples": 5}]}, r"filters\[0\]: want an object with the name"),
        ({"filters": [{"name": "nop"}]}, "delay_samples is None"),
        ({"filters": [{"name": "nop", "delay_samples": 1.5}]}, "delay_samples is 1.5"),
        ({"filters": [{"name": "vrms", "delay_samples": 5}]}, "target_vrms is None"),
    ],
)
def test_what_cannot_be_is_named_and_changes_nothing(request_: Any, why: str) -> None:
    sim = OriginalSim()
    with pytest.raises(OriginalSimError, match=why):
        more = {"reset": True, "state": {"amplitude": 1.0}}
        sim.accept_request({**request_, **more} if isinstance(request_, dict) else request_)
    assert np.array_equal(sim.frame(), sine(169.7056))


def test_a_frame_has_408_bytes_little_endian() -> None:
    data = sim_frame(np.array([1, -2] + [0] * 198, np.int16), last_gps=3, current=4, flags=1)
    assert len(data) == 408
    assert data[:4].hex() == "0100feff" and data[400:].hex() == "0300040001000000"


def test_boxes_share_a_stream_in_pieces() -> None:
    stream = OriginalSimStream()
    whole = stream.counts(0, 1000)
    assert np.array_equal(np.concatenate([stream.counts(at, 300) for at in (0, 300, 600)]), whole[:900])
    assert np.array_equal(whole[:200], sine(169.7056))
    stream.counts(200 * (KEPT_FRAMES + 10), 200)
    assert not stream.counts(0, 200).any() and stream.lost_frames == 1


@pytest.fixture
def control(tmp_path: Path) -> Iterator[tuple[OriginalSimControl, OriginalSimStream]]:
    stream = OriginalSimStream()
    with OriginalSimControl(stream, port=0, fifo=tmp_path / "fifo") as running:
        yield running, stream


def ask(
    control: OriginalSimControl, method: str, body: bytes | None = None, path: str = "/"
) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", control.port, timeout=60)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_post_changes_state_or_explains(
    control: tuple[OriginalSimControl, OriginalSimStream],
) -> None:
    running, stream = control
    assert ask(running, "POST", b'{"state": {"amplitude": 150.0}}') == (200, b"")
    assert stream.sim.state["amplitude"] == 150.0
    assert ask(running, "POST", b'{"state": {"amplitude": 100}}') == (200, b"")  # the type rule
    assert stream.sim.state["amplitude"] == 150.0
    status, body = ask(running, "GET")
    assert status == 200 and set(json.loads(body)) == {"error"}
    for body, wanted in ((b"{", "Expecting"), (b'{"filters": 3}', "array"), (b"[" * 9999, "")):
        status, answer = ask(running, "POST", body)
        assert status == 400 and wanted in json.loads(answer)["error"]
    assert ask(running, "POST", b"{}", "/elsewhere")[0] == 404
    assert stream.refused == 3


def test_the_fifo_carries_the_frames_that_boxes_read(
    control: tuple[OriginalSimControl, OriginalSimStream], tmp_path: Path
) -> None:
    _, stream = control
    read = []
    with (tmp_path / "fifo").open("rb") as fifo:
        read = [fifo.read(408) for _ in range(5)]
    assert read == [sim_frame(stream.frame(0))] * 5  # nothing was changed: all frames are alike


def test_the_fifo_waits_and_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    with OriginalSimControl(OriginalSimStream(), 0, path) as running:
        for _ in range(2):  # a reader goes, another comes
            with path.open("rb") as fifo:
                assert len(fifo.read(408)) == 408
        end = time.monotonic() + 60
        while not running.frames_dropped and time.monotonic() < end:
            time.sleep(0.01)
        assert running.frames_dropped
    assert not path.exists()
    os.mkfifo(path)
    with OriginalSimControl(OriginalSimStream(), 0, path):
        pass
    assert path.exists()  # was there before


def test_a_busy_fifo_or_port_is_an_error(tmp_path: Path) -> None:
    """A file in the FIFO's place, or a busy port."""
    (tmp_path / "mine").write_text("mine")
    threads = threading.active_count()
    with (
        pytest.raises(OpqError, match="exists and is not a FIFO"),
        OriginalSimControl(OriginalSimStream(), 0, tmp_path / "mine"),
    ):
        pass
    with OriginalSimControl(OriginalSimStream(), 0) as running, pytest.raises(PortBusyError):
        OriginalSimControl(OriginalSimStream(), running.port)
    assert (tmp_path / "mine").read_text() == "mine" and threading.active_count() == threads


def test_a_candidate_ramps_and_returns() -> None:
    counts = generated_counts(candidate_request("sag_1200_3000_0.5"), 7000)
    peaks = [float(np.max(np.abs(counts[at : at + 200]))) / 152 for at in range(0, 7000, 200)]
    assert peaks[:6] == pytest.approx([169.7] * 6, abs=0.02)
    assert peaks[8:23] == pytest.approx([60 * math.sqrt(2)] * 15, abs=0.02)
    assert peaks[25:] == pytest.approx([169.7] * 10, abs=0.02)
    assert len(generated_counts({}, 201)) == 201


@pytest.mark.parametrize("name", ["sag_1_2", "dip_1_2_0.5", "sag_1_2_1.1", "swell_1_2_0.9", "sag_-1_2_0.5"])
def test_what_is_no_candidate_is_named(name: str) -> None:
    with pytest.raises(OriginalSimError, match=name):
        candidate_request(name)

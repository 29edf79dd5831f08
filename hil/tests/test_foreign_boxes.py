"""Foreign Boxes without sockets: what they measure, and how they answer, as the reference has it."""

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from opq_proto.keys.key_files import KeyFolder, read_key_file
from opq_proto.wire.opq_pb2 import DataMessage, RequestDataMessage, TriggerMessage
from opq_proto.wire.opqbox3_pb2 import Command, Cycle, Measurement, Response
from opq_sim.box.control import truth_written
from opq_sim.box.run_boxes import plan_fleet
from opq_sim.foreign.cur_box import CurBox
from opq_sim.foreign.generations import foreign_host
from opq_sim.foreign.host import ForeignEndpoints
from opq_sim.foreign.leg_box import LegBox
from opq_sim.foreign.peer import ForeignBoxError
from opq_sim.mains import mains
from opq_sim.score.truth_file import read_truth

CALIBRATION = 152.5
NS_PER_WINDOW = 10**12 * 200 // 12_000_000
START_NS = 1_700_000_000 * 10**9


def windows(seconds: float, **how: object) -> np.ndarray:
    volts, _ = mains(seconds, **how)  # type: ignore[arg-type]
    return np.rint(volts * CALIBRATION).astype(np.int16).reshape(-1, 200)


def played(box: CurBox | LegBox, counts: np.ndarray) -> list[tuple[int, list[bytes]]]:
    """(window number, message) of everything published."""
    made = [
        (number, box.accept_window(row, START_NS + number * NS_PER_WINDOW))
        for number, row in enumerate(counts, start=1)
    ]
    return [(number, message) for number, message in made if message is not None]


def cur(box_id: str = "1", every: int = 60) -> CurBox:
    return CurBox(box_id, CALIBRATION, b"k" * 40, windows_per_measurement=every)


def ask(box: CurBox, fill: Callable[[Command], object], box_id: int = 1) -> tuple[Response, list[Cycle]]:
    command = Command(seq=9, box_id=box_id, identity="x")
    fill(command)
    answer = box.accept_command([b"1", command.SerializeToString()], START_NS + 10**9)
    assert answer is not None
    return Response.FromString(answer[0]), [Cycle.FromString(frame) for frame in answer[1:]]


def span(start_ms: int, end_ms: int) -> Callable[[Command], object]:
    def fill(command: Command) -> None:
        command.data_command.start_ms, command.data_command.end_ms = start_ms, end_ms
        command.data_command.wait = True

    return fill


def test_a_cur_box_sends_four_after_seconds() -> None:
    """A cur Box sends rms and thd for four seconds then all four."""
    counts = windows(
        9, frequency_hz=59.9, harmonics={5: 3.0, 7: 4.0}, tones=(), voltage_v=118.0, random_phases=True
    )
    sent = [(at, Measurement.FromString(message[1])) for at, message in played(cur(), counts)]
    assert [at for at, _ in sent] == [60 * (k + 1) for k in range(len(sent))]
    keys = [set(each.metrics) for _, each in sent]
    assert keys[:4] == [{"rms", "thd"}] * 4
    assert all(each == {"rms", "thd", "f", "trans"} for each in keys[4:])  # window 262 is in the fifth second
    last = sent[-1][1]
    assert last.metrics["rms"].average == pytest.approx(118.0 * math.hypot(1, 0.05), rel=2e-3)
    assert last.metrics["f"].average == pytest.approx(59.9, abs=0.01)
    assert last.metrics["f"].min <= last.metrics["f"].average <= last.metrics["f"].max
    assert last.metrics["thd"].average == pytest.approx(0.05, abs=0.01)  # 59.9 Hz leaks into bins of 60
    assert last.timestamp_ms == (START_NS + sent[-1][0] * NS_PER_WINDOW) // 10**6


def test_nominal_thd_is_exact() -> None:
    """A ringing shows in `trans`."""
    counts = windows(6, harmonics={3: (3.0, 20.0), 5: (4.0, 70.0)})
    ringing = counts.copy()
    ringing[330, 50:90] += (40 * CALIBRATION * np.sin(2 * np.pi * np.arange(40) / 10)).astype(np.int16)
    quiet, loud = (Measurement.FromString(played(cur(), each)[-1][1][1]) for each in (counts, ringing))
    assert quiet.metrics["thd"].average == pytest.approx(0.05, abs=1e-4)
    assert loud.metrics["trans"].max == pytest.approx(40, rel=0.1)
    assert quiet.metrics["trans"].max < 1.5


def test_a_range_holds_its_inner_windows() -> None:
    counts = windows(1)
    box = cur()
    played(box, counts)
    ends_ms = [(START_NS + number * NS_PER_WINDOW) // 10**6 for number in range(1, 61)]
    response, cycles = ask(box, span(ends_ms[10], ends_ms[20]))
    assert (response.box_id, response.seq) == (1, 9)
    assert [cycle.timestamp_ms for cycle in cycles] == ends_ms[11:20]
    assert (response.get_data_response.start_ts, response.get_data_response.end_ts) == (
        ends_ms[11],
        ends_ms[19],
    )
    assert np.array_equal([cycle.datapoints for cycle in cycles], counts[11:20])
    nothing, none = ask(box, span(ends_ms[-1] + 10_000, ends_ms[-1] + 20_000))  # `wait` is ignored
    assert none == [] and nothing.HasField("get_data_response")
    assert nothing.get_data_response.end_ts == 0


def test_the_storage_holds_3000_windows() -> None:
    box, row = cur(every=10**6), np.zeros(200, np.int16)
    for number in range(1, 3101):
        box.accept_window(row, START_NS + number * NS_PER_WINDOW)
    _, cycles = ask(box, span(0, 2**63 - 1))
    assert len(cycles) == 3000
    assert cycles[0].timestamp_ms == (START_NS + 101 * NS_PER_WINDOW) // 10**6


def test_box_1_answers_box_10s_command() -> None:
    box = cur("1")
    played(box, windows(0.5))
    response, cycles = ask(box, span(0, 2**60), box_id=10)
    assert response.box_id == 1 and len(cycles) == 30
    assert box.counts.commands["of another Box"] == 1


def test_a_rate_command_returns_the_old_value() -> None:
    """The new rate holds from then on."""
    box = cur(every=60)
    response, _ = ask(
        box, lambda command: setattr(command.sampling_rate_command, "measurement_window_cycles", 6)
    )
    assert response.message_rate_reponse.old_rate_cycles == 60
    assert [at for at, _ in played(box, windows(0.5))] == [6, 12, 18, 24, 30]


def test_any_plug_in_is_ok() -> None:
    box = cur()
    box.accept_window(np.zeros(200, np.int16), START_NS - 4 * 10**9)
    response, _ = ask(box, lambda command: setattr(command.send_command_to_plugin, "plugin_name", "opq-ack"))
    assert response.command_to_plugin_response.ok
    response, _ = ask(box, lambda command: command.info_command.SetInParent())
    info = response.info_response
    assert (info.uptime, info.measurement_rate, info.pub_key, info.mac_addr) == (5, 60, "k" * 40, "")
    assert info.calibration_constant == 0 and info.ip == "127.0.0.1:0\n"


def test_a_leg_box_measures_every_ten_windows() -> None:
    box = LegBox("7", CALIBRATION)
    sent = played(box, windows(5, voltage_v=121.0, frequency_hz=60.05))
    assert [at for at, _ in sent[:3]] == [10, 20, 30]
    assert sent[0][1][0] == b"7"
    first, last = (TriggerMessage.FromString(sent[k][1][1]) for k in (0, -1))
    assert (first.id, first.frequency) == (7, 0.0)  # required; not yet known
    assert first.rms == pytest.approx(121.0, rel=2e-3)
    assert last.frequency == pytest.approx(60.05, abs=0.02)


def test_a_leg_box_heeds_evget_alone() -> None:
    counts = windows(1)
    box = LegBox("7", CALIBRATION)
    played(box, counts)
    ends_ms = [(START_NS + number * NS_PER_WINDOW) // 10**6 for number in range(1, 61)]
    command = Command(seq=3, box_id=7)
    command.info_command.SetInParent()
    assert box.accept_command([b"7", command.SerializeToString()], START_NS) is None
    assert box.counts.ignored["topic"] == 1
    ping = RequestDataMessage(type=RequestDataMessage.PING, sequence_number=4)
    [pong] = box.accept_command([b"evget", ping.SerializeToString()], START_NS) or []
    found = RequestDataMessage.FromString(pong)
    assert (found.type, found.sequence_number, found.boxId) == (RequestDataMessage.PONG, 4, 7)
    read = RequestDataMessage(
        type=RequestDataMessage.READ, sequence_number=5, back=ends_ms[10], forward=ends_ms[34]
    )
    head, *data = box.accept_command([b"evget", read.SerializeToString()], START_NS) or []
    found = RequestDataMessage.FromString(head)
    assert (found.type, found.sequence_number, found.num_cycles) == (RequestDataMessage.RESP, 5, 25)
    messages = [DataMessage.FromString(each) for each in data]
    assert [len(each.cycles) for each in messages] == [10, 10, 5]
    cycles = [cycle for each in messages for cycle in each.cycles]
    assert np.array_equal([cycle.data for cycle in cycles], counts[10:35])
    assert [cycle.time for cycle in cycles] == ends_ms[10:35]
    read.back, read.forward = 5, 6
    [error] = box.accept_command([b"evget", read.SerializeToString()], START_NS) or []
    assert RequestDataMessage.FromString(error).type == RequestDataMessage.ERROR


SCENARIO = """
title = "one street at 120 V"
nominal_v = 120.0
nominal_hz = 60.0
[network]
nominal_hz = 60.0
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [{ id = "mv", nominal_kv = 12.47 }, { id = "street", nominal_kv = 0.208 }]
feeder = [{ id = "line", from_bus = "mv", km = 4.0 }]
transformer = [{ id = "t1", from_bus = "line/4km", to_bus = "street", rating_kva = 250.0 }]
load = [{ bus = "street", kw = 80.0, kvar = 20.0 }]
[[box]]
id = "1"
at = "street"
[[cause]]
kind = "fault"
at = "line/2km"
at_s = 0.2
every_s = 60.0
"""


def test_foreign_boxes_on_a_network_leave_its_truth(tmp_path: Path) -> None:
    (tmp_path / "street.toml").write_text(SCENARIO)
    [box] = plan_fleet(scenario=tmp_path / "street.toml").boxes()
    keys = KeyFolder(tmp_path / "curve")
    keys.create(True, [])
    nowhere = ForeignEndpoints(*["tcp://127.0.0.1:9"] * 3, read_key_file(keys.server_public).public)
    host = foreign_host("cur", {"1": box.source}, keys, endpoints=nowhere)
    stop = threading.Event()
    with truth_written(host, tmp_path / "truth"):
        thread = threading.Thread(target=host.run, args=(stop,))
        thread.start()
        end = time.monotonic() + 240
        while time.monotonic() < end and not (read := tmp_path / "truth" / "truth.jsonl").exists():
            time.sleep(0.01)
        while time.monotonic() < end and not read.read_text():
            time.sleep(0.01)
        stop.set()
        thread.join()
    [line] = read_truth(tmp_path / "truth").disturbances
    assert (line.cause, list(line.boxes)) == ("fault", ["1"])
    assert abs(line.boxes["1"].start_ns - host.clock.start_ns - 200_000_000) < 20_000_000


def test_an_id_beyond_the_wire_is_refused() -> None:
    with pytest.raises(ForeignBoxError, match="2147483648"):
        LegBox("2147483648", CALIBRATION)

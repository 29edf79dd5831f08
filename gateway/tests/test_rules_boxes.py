"""Sources opqbox, opqwave and recording: real sockets and files; windows however samples come."""

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from plugin_zips import Whose
from rules_engine import EVERYWHERE
from waiting import wait_for

from opq_gateway.measuring import box_intervals
from opq_gateway.measuring.box_intervals import _known_statistics
from opq_gateway.measuring.window_figures import QUANTITIES
from opq_gateway.rules.gateway_streams import EDGE_COLUMNS
from opq_proto.errors import FrameError
from opq_proto.keys.key_files import KeyFolder, read_secret_file
from opq_proto.measurement.fields import SENDABLE
from opq_proto.measurement.wire import measurement_to_wire
from opq_proto.messages import Measurement, Metric
from opq_proto.wire.frames import topic
from opq_rules.api import rules_config
from opq_rules.api.rules_service import RulesService
from opq_rules.errors import RuleError
from opq_rules.feeds.local_feed import LocalFeed
from opq_rules.feeds.wave_windows import WavePiece, WaveWindows, piece_of
from opq_rules.sinks import request_waveform
from opq_rules.sinks.request_waveform import Config as Asks
from opq_rules.sinks.request_waveform import Request, request_of
from opq_rules.sources import opqbox, opqcrossing, opqsilence, opqwave, recording
from opq_rules.streams.columns import KnownColumns
from opq_rules.streams.measurement_columns import MEASUREMENT_COLUMNS
from opq_rules.streams.measurement_row import row_of

START_NS = 1_765_792_486_013_000_000


def piece(first: int, counts: list[int], box: str = "1", axis: int = 7) -> WavePiece:
    at_ns = START_NS + first * 10**12 // 12_000_000
    return WavePiece(box, axis, first, at_ns, 400, "gps", 12_000_000, 0.5, np.array(counts, np.int16))


@contextmanager
def opened(source: Any) -> Iterator[Whose]:
    """The source in its own thread, ended and joined at the end."""
    whose = Whose()
    thread = threading.Thread(target=source.open, args=(whose,))
    thread.start()
    try:
        yield whose
    finally:
        whose.end.set()
        thread.join(240)
        assert not thread.is_alive()


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 10))
def test_windows_are_the_same_however_the_samples_come(sizes: list[int], window_ms: int) -> None:
    counts = list(range(sum(sizes)))
    windows, rows, at = WaveWindows(window_ms, volts=False), [], 0
    for size in sizes:
        rows += windows.push_piece(piece(at, counts[at : at + size]))
        at += size
    rows += windows.rest()
    wide = 12 * window_ms
    assert [row["samples"] for row in rows] == [counts[k : k + wide] for k in range(0, len(counts), wide)]
    assert [row["first_sample"] for row in rows] == list(range(0, len(counts), wide))
    off_ns = [row["start_ns"] - START_NS - row["first_sample"] * 10**12 // 12_000_000 for row in rows]
    assert all(-1 <= each <= 0 for each in off_ns), "each piece's time is rounded down once, its part's again"


def test_a_hole_ends_a_window_early() -> None:
    windows = WaveWindows(1, volts=True)
    assert windows.push_piece(piece(0, [2] * 5)) == []
    assert windows.push_piece(piece(0, [4] * 5, box="2")) == []
    (row,) = windows.push_piece(piece(6, [6] * 5))  # sample 5 is missing
    assert (row["box"], row["samples"], row["volts_per_lsb"]) == ("1", [1.0] * 5, 0.5)
    (row,) = windows.push_piece(piece(11, [8] * 3, axis=8))  # the Box began again
    assert row["samples"] == [3.0] * 5
    assert [row["samples"] for row in windows.rest()] == [[4.0] * 3, [2.0] * 5]


def test_a_piece_round_trips_over_the_wire() -> None:
    """Garbage is refused."""
    was = piece(3, [-32768, 0, 32767])
    came = piece_of(was.frames())
    assert came.counts.tolist() == was.counts.tolist() and came.time_ns(0) == was.start_ns
    head, samples = was.frames()[1:]
    for frames in ([], [b"", head, b""], [b"", head, b"abc"], [b"", b"[]", samples], [b"", b"\xff", samples]):
        with pytest.raises(FrameError):
            piece_of(frames)
    for name, value in (("rate_millihz", 0), ("v_per_lsb", float("nan")), ("first_sample", "1")):
        with pytest.raises(FrameError):
            piece_of([b"", json.dumps(json.loads(head) | {name: value}).encode(), samples])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("first_sample", "start_ns", "uncertainty_ns") for value in (-1, 2**62)),
        *(("box_id", value) for value in ("", "-1", "1" * 11, "1\n", "x" * 1_000_000)),
        *(("source", value) for value in ("x" * 41, "gps\0", "\u202e")),
        *(("v_per_lsb", value) for value in (0.0, -1.0, 1e308)),
    ],
)
def test_an_impossible_header_is_refused(name: str, value: object) -> None:
    samples = piece(3, [1]).frames()
    head = json.dumps(json.loads(samples[1]) | {name: value}).encode()
    with pytest.raises(FrameError):
        piece_of([samples[0], head, samples[2]])


@given(st.binary(max_size=300))
def test_no_header_ends_the_source(head: bytes) -> None:
    with pytest.raises(FrameError):
        piece_of([b"0001", head, b"\0\0"])


def test_opqbox_reads_and_counts_what_it_drops() -> None:
    feed: LocalFeed[dict[str, Any]] = LocalFeed("here", 10)
    assert not feed.wanted
    feed.offer({"box": "1"})  # without a reader it is dropped, which is not a fault
    source = opqbox.Source(feed, list)
    source.configure("1, 04", {})
    with opened(source) as whose:
        wait_for(lambda: feed.wanted)
        for k in range(3):
            for box in ("1", "2", "4"):
                feed.offer({"box": box, "k": k})
            wait_for(lambda k=k: len(whose.rows) == 2 * (k + 1))
    assert [(row["box"], row["k"]) for row in whose.rows] == [(box, k) for k in range(3) for box in "14"]
    assert not feed.wanted
    channel = feed.subscribe()
    for k in range(25):
        feed.offer({"box": "1", "k": k})
    feed.leave(channel)
    assert feed.dropped == 15


def of_box(ms: int, **more: Any) -> dict[str, Any]:
    return {"box": "1", "kind": "window", "timestamp_ms": ms} | more


def test_a_boxs_rows_are_in_time_order() -> None:
    feed: LocalFeed[dict[str, Any]] = LocalFeed("here", 100)
    given_rows = [
        of_box(20_000),
        of_box(19_500, kind="crossing", rms=80.0),
        of_box(19_000),  # late
        of_box(19_000, box="2"),
        of_box(3_000, backfilled=True),
        of_box(19_400, kind="edge"),
        of_box(19_900, kind="crossing", rms=120.0),
        of_box(21_000),
        of_box(9_000),  # its clock was set back
        of_box(10_000),
    ]
    for source, properties, wanted in (
        (opqbox.Source(feed, list), {}, [20_000, 19_000, 21_000, 9_000, 10_000]),
        (opqbox.Source(feed, list), {"backfilled": True}, [20_000, 19_000, 3_000, 21_000, 9_000, 10_000]),
        (opqcrossing.Source(feed, list), {}, [19_500, 19_400, 19_900]),
    ):
        source.configure("*", properties)
        with opened(source) as whose:
            wait_for(lambda: feed.wanted)
            for row in given_rows:
                feed.offer(row)
            wait_for(lambda rows=whose.rows, last=wanted[-1]: bool(rows) and rows[-1]["timestamp_ms"] == last)
        assert [row["timestamp_ms"] for row in whose.rows] == wanted
        late = ["1 came after a later row of their Box; they were dropped"]
        assert whose.errors == ([] if isinstance(source, opqcrossing.Source) else late)


def test_each_boxs_silence_is_reported_once() -> None:
    watch = opqsilence.SilenceWatch(frozenset("12"), 10.0, 0.0)
    assert watch.accept([of_box(500)], 5.0, 5_000) == []
    assert watch.accept([], 9.9, 9_900) == []
    (never,) = watch.accept([], 10.0, 10_000)  # Box 2 was never heard
    assert never == {"box": "2", "kind": "silent", "timestamp_ms": 10_000, "silent_s": 10.0}
    (silent,) = watch.accept([of_box(90, backfilled=True)], 15.0, 15_000)
    assert (silent["box"], silent["since_ms"], silent["silent_s"]) == ("1", 500, 10.0)
    assert watch.accept([], 99.0, 99_000) == []
    back = watch.accept([of_box(99_000), of_box(99_000, box="2"), of_box(99_000, box="3")], 100.0, 100_000)
    assert [(row["box"], row["kind"], row["silent_s"]) for row in back] == [
        ("1", "back", 95.0),
        ("2", "back", 100.0),
    ]
    assert [row["box"] for row in watch.accept([], 110.0, 110_000)] == ["1", "2"]


def test_only_heard_boxes_fall_silent() -> None:
    watch = opqsilence.SilenceWatch(None, 10.0, 0.0)
    assert watch.accept([], 20.0, 20_000) == []
    assert watch.accept([of_box(1), of_box(1, box="7")], 21.0, 21_000) == []
    assert [row["box"] for row in watch.accept([of_box(2)], 31.0, 31_000)] == ["7"]


def test_silence_has_its_own_clock() -> None:
    feed: LocalFeed[dict[str, Any]] = LocalFeed("here", 100)
    source = opqsilence.Source(feed, list)
    source.configure("1,2", {"afterS": 0.3})
    assert source.columns.has("since_ms") and not source.columns.has("rms")
    with opened(source) as whose:
        wait_for(lambda: len(whose.rows) == 2)
        feed.offer(of_box(7))
        wait_for(lambda: any(row["kind"] == "back" for row in whose.rows))
    assert {row["box"] for row in whose.rows[:2]} == {"1", "2"}
    with pytest.raises(ValueError, match="afterS"):
        source.configure("*", {"afterS": 0})


def test_a_measurement_is_one_of_three_kinds() -> None:
    """A window, a crossing, or a finding at the gateway."""
    volts = {"rms": Metric(1.0, 1.0, 1.0)}
    assert row_of(Measurement("1", 1, volts))["kind"] == "window"
    assert row_of(Measurement("1", 1, volts, crossing=True))["kind"] == "crossing"
    found = {"edge_impulse": Metric(9.0, 9.0, 9.0)}
    assert row_of(Measurement("1", 1, found, crossing=True))["kind"] == "edge"


def test_opqbox_subscribes_over_curve(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "curve")
    keys.create(True, ["1"])
    server = read_secret_file(keys.server_secret)
    with zmq.Context() as own, own.socket(zmq.PUB) as broker:
        broker.linger = 0
        broker.curve_server = True
        broker.curve_publickey, broker.curve_secretkey = server.public, server.secret
        port = broker.bind_to_random_port("tcp://127.0.0.1")
        source = opqbox.Source()
        files = {"serverKey": str(keys.server_public), "ownKey": str(keys.box_secret("1"))}
        source.configure("4", {"url": f"tcp://127.0.0.1:{port}", **files})
        told = Measurement("4", 1_000_000, {"rms": Metric(119, 121, 120)}, sequence=5)
        other = Measurement("40", 1_000_000, {})
        with opened(source) as whose:

            def arrived() -> bool:
                broker.send_multipart([topic("4"), b"garbage"])
                broker.send_multipart([topic("40"), measurement_to_wire(other)])
                broker.send_multipart([topic("4"), measurement_to_wire(told)])
                return bool(whose.rows and whose.errors)

            wait_for(arrived)
    assert {row["box"] for row in whose.rows} == {"4"}
    row = whose.rows[0]
    assert (row["rms"], row["rms_min"], row["rms_max"], row["sequence"]) == (120, 119, 121, 5)
    assert whose.errors[0].startswith("not a Measurement")


@pytest.mark.parametrize(
    ("source", "datasource", "properties", "why"),
    [
        (opqbox.Source, "all", {}, "numbers of Boxes"),
        (opqbox.Source, "", {}, "numbers of Boxes"),
        (opqbox.Source, "*", {"url": "localhost"}, "tcp://"),
        (opqbox.Source, "*", {"serverKey": "a"}, "go together"),
        (opqbox.Source, "*", {"serverKey": "/nowhere", "ownKey": "/nowhere"}, "keygen"),
        (opqwave.Source, "*", {}, "windows_endpoint"),
        (opqwave.Source, "*", {"url": "tcp://h:1", "unit": "furlongs"}, "counts"),
        (recording.Source, "/nowhere.i16", {}, "nowhere"),
    ],
)
def test_wrong_properties_are_reported(source: Any, datasource: str, properties: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        source().configure(datasource, properties)


def recorded(folder: Path, samples: int) -> Path:
    path = folder / "dip.i16"
    np.arange(samples, dtype="<i2").tofile(path)
    facts = {"rate_hz": 12_000, "volts_per_lsb": 0.01, "box_id": "4", "start": 1_000_000}
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def test_a_recordings_windows_continue(tmp_path: Path) -> None:
    path = recorded(tmp_path, 5_000)
    source = recording.Source(EVERYWHERE)
    source.configure(str(path), {})
    with opened(source) as whose:
        wait_for(lambda: whose.offset == 5_000)
    assert [len(row["samples"]) for row in whose.rows] == [2_400, 2_400, 200]
    assert [row["start_ms"] for row in whose.rows] == [1_000_000, 1_000_200, 1_000_400]
    assert [sample for row in whose.rows for sample in row["samples"]] == list(range(5_000))
    source = recording.Source(EVERYWHERE)
    source.configure(str(path), {"unit": "volts"})
    source.rewind(2_400)
    with opened(source) as again:
        wait_for(lambda: again.offset == 5_000)
    assert [row["first_sample"] for row in again.rows] == [2_400, 4_800]
    assert again.rows[0]["samples"][0] == pytest.approx(24.0)


def test_a_broken_recording_is_reported(tmp_path: Path) -> None:
    path = recorded(tmp_path, 10)
    good = path.with_suffix(".json").read_text()
    for text, why in (
        ("{", "Expecting"),
        ("[]", "want rate_hz"),
        ("{}", "want rate_hz"),
        (good.replace("12000", "0"), "want positive numbers"),
    ):
        path.with_suffix(".json").write_text(text)
        with pytest.raises(ValueError, match=why):
            recording.Source(EVERYWHERE).configure(str(path), {})
    path.with_suffix(".json").write_text(good)
    path.write_bytes(b"odd")
    with pytest.raises(ValueError, match="whole samples"):
        recording.Source(EVERYWHERE).configure(str(path), {})
    np.save(path.with_suffix(".npy"), np.zeros((2, 2), np.int16))
    with pytest.raises(ValueError, match="shape"):
        recording.Source(EVERYWHERE).configure(str(path.with_suffix(".npy")), {})


def test_a_request_names_box_and_span() -> None:
    row = {"box": "4", "start_ms": 1_000, "end_ms": 1_200.4, "thd": 0.09, "f": 60.0}
    asked = request_of(row, "r", Asks(afterMs=10))
    assert (asked.box_id, asked.start_ns, asked.end_ns) == ("4", 1_000_000_000, 1_210_000_000)
    assert asked.because == "rule r: thd 0.09"
    assert request_of(row, "r", Asks(value="f")).value == 60.0
    no_number = {"box": 4, "start_ms": 0, "end_ms": 1, "a": math.nan, "b": 10**400, "c": -math.inf}
    assert request_of(no_number, "r", Asks()).because == "rule r"
    assert request_of({**no_number, "d": 2}, "r", Asks()).because == "rule r: d 2"
    for wrong, why in (
        ({**row, "end_ms": 500}, "not a span"),
        ({**row, "end_ms": 200_000}, "not a span"),
        ({**row, "box": "kitchen"}, "number of a Box"),
        ({**row, "start_ms": True}, "Unix ms"),
        ({**row, "start_ms": 2**63 - 1, "end_ms": 2**63 - 1}, "Unix ms"),
        ({**row, "end_ms": math.inf}, "Unix ms"),
        ({**row, "start_ms": math.nan}, "Unix ms"),
        ({**row, "start_ms": -1}, "Unix ms"),
        ({**row, "box": 2**31}, "number of a Box"),
        ({**row, "box": "9" * 5_000}, "number of a Box"),
        ({"box": "4"}, "has no start_ms, end_ms"),
        ("text", "want rows"),
    ):
        with pytest.raises(ValueError, match=why):
            request_of(wrong, "r", Asks())


class Asking:
    """A sink's context, whose row is of rule `r`."""

    rule_id, op_id, instance_id, row_id, row_ids = "r", "sink", 0, "r:1/0", ("r:1/0",)

    def log(self, event: str, **facts: Any) -> None: ...
    def get_state(self, key: str) -> Any: ...
    def put_state(self, key: str, value: Any) -> None: ...


def test_a_permanent_rule_requests_a_bounded_amount() -> None:
    """A rule that always holds; the rest is counted."""
    asked: list[Request] = []
    room, now_s = True, 0.0

    def ask(request: Request) -> bool:
        if room:
            asked.append(request)
        return room

    sink = request_waveform.Sink(ask, lambda: now_s)
    sink.configure({"atMostPerMinute": 6})

    def found(k: int, box: str = "4") -> None:
        sink.collect(Asking(), [{"box": box, "start_ms": 1_000 * k, "end_ms": 1_000 * k + 200}])

    for k in range(170):
        found(k)
    assert len(asked) == 150
    assert sink.counts == {"over_rate": 20}
    found(170, "5")
    assert len(asked) == 151
    now_s = 10.0
    room = False
    with pytest.raises(ConnectionError):
        found(180)
    room = True
    found(180)
    found(181)
    assert (len(asked), asked[-1].start_ns) == (152, 180_000_000_000)
    assert sink.counts == {"over_rate": 21}
    free = request_waveform.Sink(ask, lambda: now_s)
    free.configure({"atMostPerMinute": 0})
    for k in range(300):
        free.collect(Asking(), {"box": "4", "start_ms": 1_000 * k, "end_ms": 1_000 * k + 200})
    assert len(asked) == 452


def test_a_recordings_rule_doubles_nothing_after_restart(tmp_path: Path) -> None:
    path, out = recorded(tmp_path, 24_000), tmp_path / "out.jsonl"
    config = rules_config.Config(data_dir=tmp_path / "data", endpoint="127.0.0.1:0", file_roots=(tmp_path,))
    stream = f'CREATE STREAM dip () WITH (DATASOURCE="{path}", TYPE="recording", CONF_KEY="slow")'
    sink = {"file": {"path": str(out), "fileType": "lines", "sendSingle": True, "idField": "row_id"}}
    rule = {"id": "r", "sql": "SELECT first_sample FROM dip", "actions": [sink], "options": {"qos": 1}}

    def lines() -> list[int]:
        text = out.read_text() if out.exists() else ""
        return [
            json.loads(line)["first_sample"] for line in text.splitlines(keepends=True) if line[-1] == "\n"
        ]

    first = RulesService(config)
    first.start()
    first.engine.ready.wait(240)
    first.engine.configurations.put("sources", "recording", "slow", {"windowMs": 10, "speed": 0.5})
    first.engine.execute(stream)
    first.engine.create_rule(rule)
    wait_for(lambda: len(lines()) > 20)
    assert first.stop() == []
    second = RulesService(config)
    second.start()
    try:
        wait_for(lambda: len(lines()) >= 200)
    finally:
        assert second.stop() == []
    assert lines() == list(range(0, 24_000, 120))


@contextmanager
def engine_of(folder: Path, source: Any) -> Iterator[Any]:
    config = rules_config.Config(data_dir=folder, endpoint="127.0.0.1:0")
    service = RulesService(config, own={("source", "opqbox"): source})
    service.start()
    try:
        assert service.engine.ready.wait(240)
        yield service.engine
    finally:
        assert service.stop() == []


BOXES = 'CREATE STREAM boxes () WITH (DATASOURCE="*", TYPE="opqbox")'


@pytest.mark.parametrize(
    ("columns", "known", "unknown"),
    [
        (
            MEASUREMENT_COLUMNS,
            "box RMS rms_min f_max thd h5 h50_max rule_x edge_impulse_max missing_gateway_s flagged sequence",
            {
                "rms_mn": 'did you mean "rms_min"?',
                "harmonics_v": "there are box, ",
                "entering": "there are box",
            },
        ),
        (
            EDGE_COLUMNS,
            "box kind rms rms_min rms_v harmonics_v[1] h5 rocof u2_ratio entering flagged",
            {
                "harmonic_v": 'did you mean "harmonics_v"?',
                "rms_maxx": "did you mean",
                "backfilled": "there are",
            },
        ),
    ],
    ids=["makai", "gateway"],
)
def test_an_impossible_column_is_refused(
    tmp_path: Path, columns: KnownColumns, known: str, unknown: dict[str, str]
) -> None:
    feed: LocalFeed[Any] = LocalFeed("rules")
    with engine_of(tmp_path, lambda: opqbox.Source(feed, list, columns)) as engine:
        engine.execute(BOXES)
        engine.execute(BOXES.replace("boxes ()", "own (my_metric FLOAT)"))
        for place, name in enumerate(known.split()):
            engine.create_rule(
                {"id": f"r{place}", "sql": f"SELECT {name} FROM boxes", "actions": [{"nop": {}}]}
            )
        for name, hint in unknown.items():
            for sql in (f"SELECT {name} FROM boxes", f"SELECT box FROM boxes WHERE {name} > 5"):
                with pytest.raises(RuleError, match=f"unknown column {name} of boxes") as refused:
                    engine.create_rule({"id": "wrong", "sql": sql, "actions": [{"nop": {}}]})
                assert str(refused.value.hint).startswith(hint)
        engine.create_rule({"id": "own", "sql": "SELECT my_metric FROM own", "actions": [{"nop": {}}]})
        with pytest.raises(RuleError, match="TIMESTAMP column timestamp is not among the columns") as late:
            engine.execute(BOXES.replace("boxes", "late").replace('box")', 'box", TIMESTAMP="timestamp")'))
        assert late.value.hint
    with (
        engine_of(tmp_path, lambda: opqbox.Source(feed, list, columns)) as again,  # as read from the disk
        pytest.raises(RuleError, match="unknown column rms_mn"),
    ):
        again.create_rule({"id": "wrong", "sql": "SELECT rms_mn FROM boxes", "actions": [{"nop": {}}]})


def test_a_channel_of_a_program_is_a_column() -> None:
    measurement = Measurement("1", 1000, {"own_oil_c": Metric(40.0, 42.0, 41.0)})
    row = row_of(measurement)
    names = ("own_oil_c", "own_oil_c_min", "own_oil_c_max")
    assert [row[name] for name in names] == [41.0, 40.0, 42.0]
    assert all(MEASUREMENT_COLUMNS.has(name) for name in names)
    assert not any(MEASUREMENT_COLUMNS.has(name) for name in ("own_oil", "own_9_c", "own_oil__", "own_"))


def test_every_gateway_metric_is_a_column() -> None:
    assert all(MEASUREMENT_COLUMNS.has(f"{name}{end}") for name in SENDABLE for end in ("", "_min", "_max"))
    statistics = {each.name: SimpleNamespace(mean=1.0, min=1.0, max=1.0) for each in QUANTITIES}
    names = {*_known_statistics(statistics, 120.0), *box_intervals._NAMES}
    assert names <= {*EDGE_COLUMNS.names}

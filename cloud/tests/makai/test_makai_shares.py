"""Several triggering services share the Boxes of one store: brokers with CURVE, real stores, plain Boxes."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from opq_cloud.makai.boxes import BoxRegister
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.measurements.last_minutes import LastMinutes
from opq_cloud.makai.measurements.measurement_writer import MeasurementWriter
from opq_cloud.makai.measurements.trends import Trends
from opq_cloud.makai.shares.box_shares import (
    BEGINNINGS,
    Share,
    beginning_of,
    beginnings_of,
    owner_of,
    read_share,
)
from opq_cloud.makai.shares.further_share import FurtherShare
from opq_cloud.makai.shares.own_boxes import MAX_WAITING, RELEASE_S, OwnBoxes
from opq_cloud.makai.shares.share_messages import (
    HandedEnd,
    HandedOnset,
    ShareBeat,
    SharesHere,
    beat_frames,
    end_frames,
    onset_frames,
    read_message,
    settled_frames,
    shares_frames,
)
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.makai_settings import CloudRulesSection
from opq_cloud.makai_settings import EventServiceSection as EventConfig
from opq_cloud.makai_settings import TriggeringServiceSection as TriggeringConfig
from opq_cloud.service import CloudContext, ServiceCounters
from opq_cloud.store import open_store
from opq_proto import log
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import ConfigError, FrameError
from opq_proto.measurement_columns import NumberedColumns
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire import measurement_to_wire, topic

S = 10**9
BOXES = ("1", "4", "10", "30", "50", "60")
OF_TWO = {box_id: owner_of(beginning_of(box_id), (1, 2)) for box_id in BOXES}


class Cloud:
    """Brokers, an event service, and triggering services of some shares, each with a store of its own."""

    def __init__(self, makai: Any, folder: Path, opened: ExitStack) -> None:
        self.makai, self.brokers, self.folder, self._opened = makai, makai.brokers(), folder, opened
        self.brokers.keys.ensure(BOXES)
        acquisition = self.brokers.acquisition_config
        self.addresses = {
            "measurement_endpoint": self.brokers.triggering_config.backend_endpoint,
            "request_endpoint": acquisition.request_endpoint,
            "share_endpoint": makai.free_endpoint(),
        }
        events = EventConfig(
            answer_endpoint=acquisition.answer_endpoint,
            request_endpoint=acquisition.request_endpoint,
            event_endpoint=makai.free_endpoint(),
            event_id_endpoint=makai.free_endpoint(),
            answer_timeout_s=60.0,
            ask_again_s=1.0,
        )
        shared = self._context()
        self.store = shared.store
        for service in (self.brokers.triggering, self.brokers.acquisition, EventService(events, shared)):
            opened.enter_context(makai.running(service))
        self.boxes = {box_id: makai.holding_box(self.brokers, box_id) for box_id in BOXES}

    def service(self, share: str) -> TriggeringService:
        """Not running yet."""
        config = TriggeringConfig(
            share=share,
            ack_interval_s=0.2,
            batch_ms=20,
            triggers={"silence": {"enabled": False}},
            **self.addresses,
        )  # a Box that jumps on by 20 s was silent: two seconds later that is an event of its own
        return TriggeringService(config, self._context(), Nominal(120.0, 60.0))

    def run(self, share: str) -> TriggeringService:
        service = self.service(share)
        self._opened.enter_context(self.makai.running(service))
        return service

    def until(self, condition: Callable[[], Any], quiet: bool = False) -> Any:
        """What the condition gives, while all Boxes send; `quiet`: they only answer."""

        def turn() -> Any:
            for box in self.boxes.values():
                if not quiet:
                    box.send()
                box.serve()
            time.sleep(0.03)
            return condition()

        return self.makai.wait_for(turn)

    def all_acknowledged(self) -> None:
        """Each Measurement is stored, once; Boxes send no more."""
        self.until(lambda: all(box.upto == box.sequence for box in self.boxes.values()), quiet=True)
        for box_id, box in self.boxes.items():
            rows = self.store.measurements(box_id, 0, 2**53)
            assert sorted(row.sequence for row in rows) == list(range(1, box.sequence + 1)), box_id

    def heard(self, numbers: Any = (1, 2)) -> None:
        """Boxes of these shares get acknowledgements."""
        began = {box_id: box.sequence for box_id, box in self.boxes.items() if OF_TWO[box_id] in numbers}
        self.until(lambda: all(self.boxes[box_id].upto > at for box_id, at in began.items()))

    def _context(self) -> CloudContext:
        context = CloudContext(lambda: open_store(None, self.folder / "store"))
        self._opened.callback(context.close)
        return context


@pytest.fixture
def cloud(makai: Any, tmp_path: Path) -> Iterator[Cloud]:
    with ExitStack() as opened:
        yield Cloud(makai, tmp_path, opened)


def said(service: TriggeringService) -> tuple[bool, str]:
    """What its health says of the share."""
    return next((part.ok, part.info or "") for part in service.health() if part.name == "share")


def count(service: TriggeringService, name: str) -> int:
    return round(service.counters.total(name))


def test_when_a_share_comes_or_goes_only_its_own_boxes_move() -> None:
    assert OF_TWO == {"1": 2, "4": 2, "10": 1, "30": 2, "50": 2, "60": 1}  # and so on each machine, for ever
    three, without = ({each: owner_of(each, shares) for each in BEGINNINGS} for shares in ((1, 2, 3), (1, 3)))
    assert {each for each in BEGINNINGS if three[each] != without[each]} == beginnings_of(2, (1, 2, 3))
    for shares in ((1, 2), (1, 3), tuple(range(1, 11))):
        sizes = [len(beginnings_of(number, shares)) for number in shares]
        assert sum(sizes) == 1000 and all(abs(size * len(shares) - 1000) < 300 for size in sizes)
    assert owner_of(b"001", ()) == 0
    assert beginning_of("12345") == b"123" and beginning_of("7") == b"000"


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "/2", "1/65", "a/b", "1/2/3", "²/3"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="want NUMBER/OF"):
        read_share(text)


def test_rules_see_all_boxes_and_are_no_part_of_a_share() -> None:
    config = TriggeringConfig(share="1/2", rules=CloudRulesSection(enabled=True))
    with pytest.raises(ConfigError, match="leave one of them out"):
        TriggeringService(config, CloudContext(lambda: open_store(None, Path("/"))), Nominal(120.0, 60.0))


def test_a_box_that_is_taken_waits_until_it_is_begun_and_one_that_is_lost_is_judged_on() -> None:
    def of(box_id: str) -> list[list[bytes]]:
        return [[topic(box_id), b"x"]]

    own = OwnBoxes(2)
    assert own.sort(of("1")) == [] and not own.begins  # nobody's yet
    new = own.use_shares((1, 2), 0.0)
    assert new == beginnings_of(2, (1, 2))
    own.know(["4", "10"])
    assert own.sort(of("1") + of("10")) == [] and own.next_gained() == {"4": [], "1": of("1")}
    own.begin(["1", "4"])
    assert own.sort(of("4") + of("1") + of("10")) == of("4") + of("1") and len(own) == 2 and own.has("1")
    assert own.use_shares((1,), 10.0) == frozenset()
    assert own.released(10.0) == ([], []) and own.sort(of("1")) == of("1")
    assert own.use_shares((1, 2), 10.5) == frozenset()  # it never went
    assert own.released(99.0) == ([], []) and own.sort(of("1")) == of("1")
    own.use_shares((1,), 100.0)
    own.sort(of("30"))
    over, gone = own.released(100.0 + RELEASE_S)
    assert set(over) == new and sorted(gone) == ["1", "4"] and own.sort(of("1")) == [] and not own.begins
    own.use_shares((1, 2), 200.0)
    assert own.sort(of("1") * (MAX_WAITING + 3)) == [] and own.dropped == 3
    own.begin(["1"])
    for name in (b"00001", b"000x", b"000", b"000" + b"1" * 5000):
        assert own.sort([[name, b"x"]]) == [] and not own.begins


def test_messages_between_shares_come_back_as_they_were_and_others_are_refused() -> None:
    heard = np.array([[1, 2, 3, 4], [10_000, 2**50, 10**9, 0]], np.int64)
    beat = read_message(beat_frames(2, 5, heard))
    assert isinstance(beat, ShareBeat) and (beat.number, beat.of) == (2, 5)
    assert np.array_equal(beat.received, heard)
    ages = read_message(beat_frames(2, 5, np.array([[1, 2, -5, 2**62]], np.int64)))
    assert isinstance(ages, ShareBeat) and ages.received.tolist() == [[1, 2, 0, 120 * S]]
    row = Measurement("7", 5000, {"rms": Metric(1.0, 3.0, 2.0)}, 4 * S, 5 * S, 100, sequence=9)
    for decision in (None, Decision("rms", 80.0, 108.0, "low"), Decision("f", 1.0, 2.0, "é", (1, 2), 0)):
        for began_with in (None, 7):
            onset = HandedOnset(3, row, decision, decision is None, began_with)
            assert read_message(onset_frames(onset)) == onset
    end = HandedEnd(4, "7", Decision("rms", 80.0, 108.0, "over", (2**60, 2**60 + 1), None))
    assert read_message(end_frames(end)) == end
    assert read_message(shares_frames(SharesHere((1, 3), "why"))) == SharesHere((1, 3), "why")
    assert read_message(settled_frames([1, 2])) == [1, 2] and read_message([b"bye"]) is None
    for frames in (
        [b""],
        [b"beat"],
        [b"beat", b"[1,2]", b"short"],
        [b"beat", b"{}", b""],
        [b"onset", b"[1,0,null]", b""],
        [b"end", b'[1,"x",["rms",1,2,"",[1,2],null]]'],
        [b"end", b'[1,"7",null]'],
        [b"end", b"[" * 100_000],
        [b"settled", b"[-1]"],
        [b"settled", b"[true]"],
        [b"shares", b"[[1.5],1]"],
        [b"shares", b"\xff"],
        [b"shares", json.dumps([list(range(1000)), ""]).encode()],
        [b"beat", b"[2,5]", np.array([[-1, 0, 0, 0]], "<i8").tobytes()],
        [b"beat", b"[2,5]", np.array([[2**31, 0, 0, 0]], "<i8").tobytes()],
        [b"end", b'[1,"7",["rms",1%s,2,"",[1,2],null]]' % (b"0" * 400)],  # no float has it
        [b"end", b'[1,"4294967296",["rms",1,2,"",[1,2],null]]'],
        [b"end", '[1,"\u0663",["rms",1,2,"",[1,2],null]]'.encode()],
        [b"end", b'[1,"7",["rms",1,2,"",[2,1],null]]'],
        [b"end", b'[1,"7",["rms",1,2,"",[1,9223372036854775807],null]]'],
        [b"end", b'[1,"7",["rms",1,2,"",[1,2],2]]'],
    ):
        with pytest.raises(FrameError):
            read_message(frames)


def test_a_box_that_is_new_is_said_at_once_and_before_an_onset() -> None:
    register = BoxRegister(Nominal(120.0, 60.0))
    further = FurtherShare(Share(2, 2), "an instance", register, ServiceCounters())
    with zmq.Context() as context, closing(context.socket(zmq.ROUTER)) as first:
        port = first.bind_to_random_port("tcp://127.0.0.1")

        def came(count: int = 1) -> list[ShareBeat | HandedOnset]:
            """The next messages; one too many is the first of the next call."""
            found = []
            while len(found) < count and first.poll(60_000):
                found.append(read_message(first.recv_multipart()[1:]))
            return found

        def heard(beat: object) -> list[int]:
            assert isinstance(beat, ShareBeat)
            return beat.received[:, 0].tolist()

        with further.opened(context, f"tcp://127.0.0.1:{port}") as socket:
            assert socket.poll(5000, zmq.POLLOUT)
            further.beat(now_s := time.monotonic())
            assert [heard(each) for each in came()] == [[]]
            register.note_received("4", 1000)
            further.beat(now_s)
            further.beat(now_s)
            assert [heard(each) for each in came()] == [[4]]
            register.note_received("1", 1000)
            row = Measurement("1", 5000, {"rms": Metric(60.0, 60.0, 60.0)}, 4 * S, 5 * S, 100, sequence=9)
            assert further.open_at_onset(row, Decision("rms", 60.0, 108.0, "low"), stored=True)
            beat, onset = came(2)
            assert 1 in heard(beat) and isinstance(onset, HandedOnset)
            register.remove_boxes(["4"])
            further.beat(now_s)
            register.note_received("30", 1000)
            further.beat(now_s)
            assert [30 in heard(each) for each in came()] == [True]
            assert not first.poll(100)


def test_minutes_of_boxes_that_go_are_put_as_far_as_they_came() -> None:
    trends = Trends()
    for box_id in ("1", "2"):
        trends.add(Measurement(box_id, 1000, {"rms": Metric(1.0, 3.0, 2.0)}, 0, S), 0.0)
    (gone,) = trends.release({"1"})
    assert (gone.box_id, gone.covered_ms) == ("1", 1000)
    for box_id in ("1", "2"):
        trends.add(Measurement(box_id, 2000, {"rms": Metric(1.0, 3.0, 2.0)}, S, 2 * S), 0.0)
    over = {trend.box_id: (trend.covered_ms, partial) for trend, partial in trends.over(0.0, everything=True)}
    assert over == {"1": (1000, True), "2": (2000, True)}  # the first minute of each may have another part


def test_an_onset_that_comes_again_among_many_waits_for_its_event_too(tmp_path: Path) -> None:
    """Nobody has the port of the first share: it is not stored, for its Box would not send it again."""
    began_ns = time.time_ns() // S * S
    calm = {"f": Metric(59.99, 60.01, 60.0), "thd": Metric(0.01, 0.03, 0.02), "trans": Metric(0.5, 1.5, 1.0)}

    def sent(number: int, dip: bool, again: bool = False) -> list[list[bytes]]:
        """One second of 20 Boxes; Box 5 may see a dip."""
        found = []
        for box in range(1, 21):
            volts, end_ns = 72.0 if dip and box == 5 else 120.0, began_ns + number * S
            row = Measurement(
                str(box), end_ns // 10**6, {"rms": Metric(volts, volts, volts), **calm}, end_ns - S, end_ns,
                1000, TimeSource.GPS, number, 1, again, nominal_v=120.0, nominal_hz=60.0,
            )  # fmt: skip
            found.append([topic(row.box_id), measurement_to_wire(row)])
        return found

    with closing(CloudContext(lambda: open_store(None, tmp_path))) as shared, zmq.Context() as context:
        config = TriggeringConfig(share="2/2")
        service = TriggeringService(config, shared, Nominal(120.0, 60.0))
        writer = MeasurementWriter(shared.store, config, service.counters, log.get(), lambda *_: None)
        service._minutes, further = LastMinutes(60.0), service._as_further
        with further.opened(context, "tcp://127.0.0.1:9"):
            further.begin(writer.accept_measurement)
            for number in range(1, 7):
                service._read_measurements(sent(number, number == 3), writer, 0.0)
            assert count(service, "onsets_handed") == 1
            for _ in range(3):
                service._read_measurements(sent(3, True, again=True), writer, 0.0)
            assert count(service, "onsets_handed") == 1
            waiting = writer._waiting.receive()
    stored = [each for each in waiting if isinstance(each, NumberedColumns)]
    rows = [row for each in stored for row in each.measurements()]
    rows += [each for each in waiting if isinstance(each, Measurement)]
    assert sorted(row.sequence or 0 for row in rows if row.box_id == "5") == [1, 2, 4, 5, 6]
    assert sum(row.box_id == "6" and row.sequence == 3 for row in rows) == 4
    assert any(each.backfilled for each in stored), "they came as columns"


def test_what_two_shares_see_is_one_event_and_each_measurement_is_stored_once(cloud: Cloud) -> None:
    one, two = cloud.run("1/2"), cloud.run("2/2")
    cloud.heard()
    assert (count(one, "boxes_of_share_now"), count(two, "boxes_of_share_now")) == (2, 4)
    assert said(one) == (True, "1/2; shares here: 1, 2") and said(two) == (True, "2/2; shares here: 1, 2")
    assert {part.name for part in two.health()} & set(BOXES) == {"1", "4", "30", "50"}
    cloud.until(lambda: {part.name for part in one.health()} >= set(BOXES))  # as the other tells it
    at_ns = time.time_ns()
    for box in cloud.boxes.values():
        box.send(80.0, end_ns=at_ns)
    (event,) = cloud.until(lambda: [each for each in cloud.store.events() if each.finished])
    assert set(event.boxes_received) == set(BOXES) and event.start_ns < at_ns - S < at_ns < event.end_ns
    for box_id in ("1", "4", "10"):  # 1.5 % at three Boxes of two shares: none is worth an event by itself
        cloud.boxes[box_id].send(120.0, 118.2, at_ns + 20 * S)
    cloud.until(lambda: len([each for each in cloud.store.events() if each.finished]) == 2)
    assert "coincidence" in cloud.store.events()[0].because
    spans = [{each.data_command.start_ms for each in box.commands} for box in cloud.boxes.values()]
    assert [len(each) for each in spans] == [2] * len(BOXES)  # whoever answers late is asked again
    cloud.all_acknowledged()
    assert len(cloud.store.events()) == 2
    for service, own in ((one, 1), (two, 2)):
        wanted = sum(cloud.boxes[box_id].sequence for box_id in BOXES if OF_TWO[box_id] == own)
        assert count(service, "measurements_stored") == wanted
        assert set(service.counters.snapshot()["acknowledgements"]) == {
            box_id for box_id in BOXES if OF_TWO[box_id] == own
        }


@contextmanager
def killed(cloud: Cloud, share: str) -> Iterator[None]:
    """A share as a process of its own, as an operator starts it; `kill -9` at the end."""
    file = cloud.folder / "share.toml"
    addresses = "".join(f'{key} = "{value}"\n' for key, value in cloud.addresses.items())
    health = f'health_endpoint = "127.0.0.1:{cloud.makai.free_port()}"\n'
    file.write_text(f'[triggering_service]\nshare = "{share}"\nack_interval_s = 0.2\n{health}{addresses}')
    command = [sys.executable, "-m", "opq_cloud", "triggering-service", "--config", str(file)]
    command += ["--data-dir", str(cloud.folder / "store")]
    with (cloud.folder / "share.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_share_that_is_killed_loses_nothing_and_another_one_may_come(cloud: Cloud) -> None:
    one = cloud.run("1/2")
    with killed(cloud, "2/2"):
        cloud.until(lambda: said(one) == (True, "1/2; shares here: 1, 2"))
        cloud.until(lambda: count(one, "boxes_of_share_now") == 2)
        cloud.heard()
        cloud.boxes["4"].send(80.0)  # on its way, handed over or settled: nobody knows
    cloud.until(lambda: count(one, "boxes_of_share_now") == 6)
    ok, text = said(one)
    assert not ok and text.startswith("1/2; shares here: 1; not here: 2 for ")
    cloud.heard()
    cloud.run("2/2")
    cloud.until(lambda: count(one, "boxes_of_share_now") == 2)
    cloud.heard()
    cloud.all_acknowledged()
    cloud.until(lambda: any(each.finished for each in cloud.store.events()), quiet=True)
    (event,) = cloud.store.events()
    assert event.opened_by == "4" and "4" in event.boxes_received
    assert said(one)[0]


def test_the_first_share_is_killed_and_the_next_one_opens_the_events(cloud: Cloud) -> None:
    with killed(cloud, "1/2"):
        cloud.until(lambda: (cloud.folder / "share.log").read_bytes().count(b"shares.changed"))
        two = cloud.run("2/2")
        cloud.heard()
        assert count(two, "boxes_of_share_now") == 4
        at_ns = time.time_ns()
        for box_id in ("4", "10"):  # of one share each; on disk, handed over or on their way: nobody knows
            cloud.boxes[box_id].send(80.0, end_ns=at_ns)
    cloud.until(lambda: count(two, "boxes_of_share_now") == 6)
    cloud.heard()
    cloud.all_acknowledged()
    cloud.until(lambda: any(each.finished for each in cloud.store.events()), quiet=True)
    (event,) = cloud.store.events()
    assert {"4", "10"} <= set(event.boxes_received)
    assert count(two, "share_places_taken") == 1


def test_onsets_wait_while_the_port_is_held_and_whoever_takes_it_opens_them(cloud: Cloud) -> None:
    """Who has the port and says nothing is a first share that hangs: its place is not taken."""
    with cloud.makai.running(cloud.service("1/2")):
        two = cloud.run("2/2")
        cloud.heard()
    port = int(cloud.addresses["share_endpoint"].rpartition(":")[2])
    box = cloud.boxes["4"]
    with socket.create_server(("127.0.0.1", port)):
        cloud.heard((2,))
        box.send(80.0)
        dip = box.sequence
        waits = re.compile(r"does not answer for ([6-9]|\d\d+) s; \d+ wait for their events")
        cloud.until(lambda: waits.search(said(two)[1]))
        assert box.upto < dip and not cloud.store.events()  # it is stored when its event is on disk
        assert count(two, "share_places_taken") == 0
    cloud.until(lambda: any(each.finished for each in cloud.store.events()))
    cloud.heard()
    (event,) = cloud.store.events()
    assert event.opened_by == "4" and "4" in event.boxes_received and box.upto >= dip
    one = cloud.run("1/2")  # it finds its place taken, and shares its Boxes
    cloud.until(lambda: said(one) == (True, "1/2; shares here: 1, 2"))
    cloud.until(lambda: (count(one, "boxes_of_share_now"), count(two, "boxes_of_share_now")) == (2, 4))
    cloud.boxes["10"].send(80.0)
    cloud.until(lambda: len([each for each in cloud.store.events() if each.finished]) == 2)
    cloud.all_acknowledged()
    assert cloud.store.events()[0].opened_by == "10" and said(two) == (True, "2/2; shares here: 1, 2")
    cloud.until(lambda: count(one, "onsets_waiting_now") == 0, quiet=True)
    assert count(one, "onsets_handed") >= 1


def test_a_second_service_of_the_same_number_judges_nothing_and_says_why(cloud: Cloud) -> None:
    cloud.run("1/2")
    two = cloud.run("2/2")
    cloud.heard()
    other = cloud.run("2/2")
    cloud.until(lambda: said(other) == (False, "2/2: another service is share 2 already"))
    assert count(other, "boxes_of_share_now") == 0 and said(two)[0]

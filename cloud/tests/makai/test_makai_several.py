"""Two whole Makais with brokers of their own on one store: one here, one as a process that is killed."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from opq_cloud.makai.broker_links import CommandLinks, MeasurementLinks
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.makai_settings import EventServiceSection as EventConfig
from opq_cloud.makai_settings import FurtherBrokers
from opq_cloud.makai_settings import TriggeringServiceSection as TriggeringConfig
from opq_cloud.mauka.plugin import PUB_KEY, SUB_KEY
from opq_cloud.mauka.runner import AnalysisRunner
from opq_cloud.mauka.running.built_in_analyses import load_analyses
from opq_cloud.original_config import ConfigNotice, read_config
from opq_cloud.service import CloudContext, HealthyService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.errors import ConfigError
from opq_proto.wire import data_command, topic

S = 10**9
NEAR, FAR = ("1", "10"), ("4", "60")
"""Boxes at the brokers of each; 1 and 4 are of share 2, 10 and 60 of share 1."""
WITHOUT_PAGES = """
from opq_cloud import __main__ as program
del program.MAKERS["view"], program.MAKERS["notifications"]
program.cloud()
"""


class TwoMakais:
    """Each with brokers and two Boxes, one of each share, on one store: `far` is a process."""

    def __init__(self, makai: Any, folder: Path, opened: ExitStack) -> None:
        self.makai, self.folder = makai, folder
        near, far = (type(makai)(folder / name).brokers() for name in ("near", "far"))
        for brokers in (near, far):
            brokers.keys.ensure((*NEAR, *FAR))
        self.share_endpoint = makai.free_endpoint()
        self._write_config(far, self.linked(near))
        self._pair, self._opened = (near, far), opened
        self.boxes = {
            box_id: makai.holding_box(brokers, box_id)
            for brokers, ids in ((near, NEAR), (far, FAR))
            for box_id in ids
        }

    @staticmethod
    def linked(brokers: Any) -> FurtherBrokers:
        acquisition = brokers.acquisition_config
        return FurtherBrokers(
            measurement_endpoint=brokers.triggering_config.backend_endpoint,
            request_endpoint=acquisition.request_endpoint,
            answer_endpoint=acquisition.answer_endpoint,
        )

    def begin_near(self) -> None:
        (near, far), makai = self._pair, self.makai
        self.context = CloudContext(lambda: open_store(None, self.folder / "store"), several=True)
        self._opened.callback(self.context.close)
        self.store, own = self.context.store, self.linked(near)
        events = EventConfig(
            answer_endpoint=own.answer_endpoint, request_endpoint=own.request_endpoint,
            event_endpoint=makai.free_endpoint(), event_id_endpoint=makai.free_endpoint(), ask_again_s=1.0,
        )  # fmt: skip
        shares = TriggeringConfig(
            measurement_endpoint=own.measurement_endpoint, request_endpoint=own.request_endpoint,
            share="2/2", share_endpoint=self.share_endpoint, ack_interval_s=0.2, batch_ms=20,
        )  # fmt: skip
        further, nobody = (self.linked(far),), "tcp://127.0.0.1:9"
        self.events = EventService(events, self.context, further)
        self.triggers = TriggeringService(shares, self.context, Nominal(120.0, 60.0), further=further)
        lease = self.context.lease("mauka")
        analyses = load_analyses([("rms_voltage", {})])
        bus = {PUB_KEY: nobody, SUB_KEY: nobody}
        self.mauka = AnalysisRunner(bus, lambda: self.store, analyses, lease=lease)
        for service in (near.triggering, near.acquisition, self.events, self.triggers, self.mauka):
            self._opened.enter_context(makai.running(service))

    def _write_config(self, far: Any, other: FurtherBrokers) -> None:
        own, free = self.linked(far), self.makai.free_endpoint
        tables: dict[str, dict[str, object]] = {
            "keys": {"folder": str(far.keys.server_secret.parents[1])},
            "store": {"data_dir": str(self.folder / "store"), "shared": True},
            "triggering_broker": {
                "box_endpoint": far.triggering_config.box_endpoint,
                "backend_endpoint": own.measurement_endpoint,
            },
            "acquisition_broker": {
                key: getattr(far.acquisition_config, key)
                for key in ("command_endpoint", "response_endpoint", "request_endpoint", "answer_endpoint")
            },
            "triggering_service": {
                "measurement_endpoint": own.measurement_endpoint, "request_endpoint": own.request_endpoint,
                "share": "1/2", "share_endpoint": self.share_endpoint, "ack_interval_s": 0.2,
            },
            "event_service": {
                "answer_endpoint": own.answer_endpoint, "request_endpoint": own.request_endpoint,
                "event_endpoint": free(), "event_id_endpoint": free(), "ask_again_s": 1.0,
            },
            "mauka": {
                "request_endpoint": own.request_endpoint, "answer_endpoint": own.answer_endpoint,
                **{key: free() for key in (
                    "event_endpoint", "incident_id_endpoint", "plugin_manager_endpoint", "bus_sub_endpoint",
                    "bus_pub_endpoint", "event_id_endpoint",
                )},
            },
            "health": {"whole_endpoint": f"127.0.0.1:{self.makai.free_port()}"},
            "[further_brokers]": {
                "measurement_endpoint": other.measurement_endpoint,
                "request_endpoint": other.request_endpoint, "answer_endpoint": other.answer_endpoint,
            },
        }  # fmt: skip
        lines = []
        for name, values in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        (self.folder / "far.toml").write_text("\n".join(lines) + "\n")

    @contextmanager
    def far(self) -> Iterator[None]:
        """The other Makai, whole but for its pages; `kill -9` at the end."""
        command = [sys.executable, "-c", WITHOUT_PAGES, "all", "--config", str(self.folder / "far.toml")]
        command += ["--data-dir", str(self.folder / "far")]
        with (self.folder / "far.log").open("ab") as log:
            process = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()

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

    def heard(self, *box_ids: str) -> None:
        """These get acknowledgements."""
        began = {box_id: self.boxes[box_id].sequence for box_id in box_ids}
        self.until(lambda: all(self.boxes[box_id].upto > at for box_id, at in began.items()))

    def dip(self, *box_ids: str) -> None:
        """All see the same dip; Measurements of these say so."""
        at_ns = time.time_ns()
        for box_id, box in self.boxes.items():
            box.dip_ns = at_ns - S // 2, at_ns - S // 4
            if box_id in box_ids:
                box.send(80.0, end_ns=at_ns)

    def analysed(self, events: int) -> list[Any]:
        """So many events, all analysed, the oldest first."""
        self.until(lambda: [each.analysed for each in self.store.events()] == [True] * events)
        return sorted(self.store.events(), key=lambda each: each.event_id)


def said(service: HealthyService, part: str) -> str:
    """By its health."""
    return next(each.info or "" for each in service.health() if each.name == part)


@pytest.mark.timeout(300)
def test_two_makais_on_one_store_and_one_is_killed_and_comes_back(makai: Any, tmp_path: Path) -> None:
    with ExitStack() as opened:
        both = TwoMakais(makai, tmp_path, opened)
        with both.far():
            both.until(lambda: b"shares.changed" in (tmp_path / "far.log").read_bytes())
            both.begin_near()
            both.heard(*NEAR, *FAR)
            both.until(lambda: said(both.triggers, "share") == "2/2; shares here: 1, 2")
            both.until(lambda: "stands by; works: " in said(both.events, "event-service.turn"))
            both.dip("1", "60")  # each at the other's brokers than where the service of its share is
            (event,) = both.analysed(1)
            assert set(event.boxes_received) == {*NEAR, *FAR}
            assert both.events.counters.total("waveforms_stored") == both.mauka.counters.total("events") == 0
        both.heard(*NEAR)
        both.dip("10")
        both.until(lambda: set(both.store.events()[0].boxes_received) == set(NEAR))
        both.until(lambda: said(both.mauka, "mauka.turn") == "works here")
        assert both.triggers.counters.total("share_places_taken") == 1
        with both.far():
            both.heard(*NEAR, *FAR)
            both.until(lambda: said(both.triggers, "share") == "2/2; shares here: 1, 2")
            both.dip("4")
            found = both.analysed(3)
            assert [each.opened_by for each in found[1:]] == ["10", "4"]
            assert set(found[2].boxes_received) == {*NEAR, *FAR}
            both.until(lambda: all(box.upto == box.sequence for box in both.boxes.values()), quiet=True)
        assert [each.event_id for each in found] == [1, 2, 3]
        assert both.mauka.counters.total("events") == 2  # each of the two once
        incidents = both.store.incidents(limit=100)
        assert sorted(each.event_ids for each in incidents) == [(1,), (2,), (3,)]
        for box_id, box in both.boxes.items():
            rows = both.store.measurements(box_id, 0, 2**53)
            stored = sorted(row.sequence or 0 for row in rows)
            assert stored == list(range(1, box.sequence + 1)), box_id


@pytest.mark.timeout(300)
@pytest.mark.parametrize("share", [None, "1/1"])
def test_two_triggering_services_without_a_share_or_of_the_same_one_hear_the_same_brokers_and_one_judges(
    makai: Any, tmp_path: Path, share: str | None
) -> None:
    with ExitStack() as opened:
        pair = [type(makai)(tmp_path / name).brokers() for name in ("near", "far")]
        for each in pair:
            opened.enter_context(makai.running(each.triggering))
            opened.enter_context(makai.running(each.acquisition))
        boxes = [makai.holding_box(brokers, box_id) for brokers, box_id in zip(pair, "14", strict=True)]

        def service(own: Any, other: Any, running: ExitStack) -> tuple[TriggeringService, CloudContext]:
            context = CloudContext(lambda: open_store(None, tmp_path / "store"), several=True)
            running.callback(context.close)
            addresses = TwoMakais.linked(own)
            config = TriggeringConfig(
                measurement_endpoint=addresses.measurement_endpoint,
                request_endpoint=addresses.request_endpoint, ack_interval_s=0.2, batch_ms=20,
                share=share, share_endpoint=makai.free_endpoint(),
            )  # fmt: skip
            further = (TwoMakais.linked(other),)
            made = TriggeringService(config, context, Nominal(120.0, 60.0), further=further)
            running.enter_context(makai.running(made))
            return made, context

        def judged(rms: float = 120.0) -> None:
            """One more Measurement of each is judged, stored and acknowledged."""
            at_ns = time.time_ns()
            for box in boxes:
                box.send(rms, end_ns=at_ns)
            numbers = [box.sequence for box in boxes]

            def acknowledged() -> bool:
                for box in boxes:
                    box.serve()
                return [box.upto for box in boxes] == numbers

            makai.wait_for(acknowledged)

        with ExitStack() as working:
            first, context = service(*pair, working)
            makai.wait_for(lambda: said(first, "triggering-service.turn") == "works here")
            second, _ = service(*reversed(pair), opened)
            makai.wait_for(lambda: "stands by; works: " in said(second, "triggering-service.turn"))
            assert share is None or "has this share already" in said(second, "share")
            judged()
            judged(80.0)
            assert len(context.store.events()) == 1
            assert {each.opened_by for each in context.store.events()} < {"1", "4"}
            assert second.counters.total("received") == second.counters.total("triggers") == 0
        makai.wait_for(lambda: said(second, "triggering-service.turn") == "works here")
        judged()
        assert second.counters.total("received") > 0
        assert first.counters.total("triggers") == 1


def test_brokers_of_others_without_a_share_are_said(tmp_path: Path) -> None:
    file, notices = tmp_path / "cloud.toml", list[ConfigNotice]()
    addresses = "".join(f'{key}_endpoint = "tcp://b:1"\n' for key in ("measurement", "request", "answer"))
    text = f"[store]\nshared = true\n[[further_brokers]]\n{addresses}"
    file.write_text(text)
    read_config([file], notify=notices.append)
    assert [(each.event, each.key) for each in notices] == [("config.without_share", "further_brokers")]
    file.write_text(text := f'{text}[triggering_service]\nshare = "1/2"\n')
    read_config([file], notify=notices.append)
    assert [each.key for each in notices[1:]] == ["triggering_service.share_endpoint"]
    file.write_text(f'{text}share_endpoint = "tcp://b:9885"\n')
    read_config([file], notify=notices.append)
    assert len(notices) == 2


def test_where_boxes_are_heard_is_bounded_and_commands_to_who_is_forgotten_go_to_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opq_cloud.makai.broker_links.MAX_PLACES", 3)
    with zmq.Context() as context, ExitStack() as opened:

        def pair(kind: int, other: int, name: str) -> Any:
            sockets = [opened.enter_context(closing(context.socket(each))) for each in (kind, other)]
            sockets[0].bind(f"inproc://{name}")
            sockets[1].connect(f"inproc://{name}")
            return sockets

        (one, first), (two, second) = (pair(zmq.PUSH, zmq.PULL, name) for name in "ab")
        (sink_of_one, to_one), (sink_of_two, to_two) = (pair(zmq.PULL, zmq.PUSH, name) for name in "cd")
        links = MeasurementLinks([first, second])
        commands = CommandLinks([to_one, to_two], links.at)

        def reached(box_id: str) -> list[bool]:
            assert commands.send([data_command(box_id, 0, S, "an identity")])
            return [bool(sink.poll(20) and sink.recv_multipart()) for sink in (sink_of_one, sink_of_two)]

        for number in range(1, 1000):
            (one if number % 2 else two).send_multipart([topic(str(number)), b""])
            assert links.poll(1000) and len(links.receive(10)[0]) == 1 and len(links.at) <= 3
        assert (reached("999"), reached("996")) == ([True, False], [True, True])


def test_brokers_of_others_want_a_store_that_knows_of_them(tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    addresses = "".join(f'{key}_endpoint = "tcp://b:1"\n' for key in ("measurement", "request", "answer"))
    file.write_text(f"[[further_brokers]]\n{addresses}")
    with pytest.raises(ConfigError, match="further_brokers needs store"):
        read_config([file])

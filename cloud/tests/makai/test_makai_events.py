"""From a measurement to an announced event: both services, both brokers, plain Boxes, a real store."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import EventServiceSection as EventConfig
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as TriggeringConfig
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.makai.event_service import EventService, _why_empty
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_cloud.view.pages.boxes.waveform_requests import WaveformRequests, request_state
from opq_proto.decision import Nominal
from opq_proto.messages import TimeSource, Trigger, Waveform
from opq_proto.wire.frames import Response, waveform_to_frames
from opq_proto.wire.opqbox3_pb2 import Command

NOMINAL = Nominal(120.0, 60.0)
TOPICS = 3
"""What the event service subscribes to of the answers."""


class Cloud:
    """Brokers and services; each of the two services can be run apart from the other."""

    def __init__(self, makai: Any, folder: Path) -> None:
        self.makai = makai
        self.brokers = makai.brokers()
        self.shared = CloudContext(lambda: open_store(None, folder / "store"))
        acquisition = self.brokers.acquisition_config
        self.triggering_config = TriggeringConfig(
            measurement_endpoint=self.brokers.triggering_config.backend_endpoint,
            request_endpoint=acquisition.request_endpoint,
            ack_interval_s=0.2,
            batch_ms=20,
        )
        self.event_config = EventConfig(
            answer_endpoint=acquisition.answer_endpoint,
            request_endpoint=acquisition.request_endpoint,
            event_endpoint=makai.free_endpoint(),
            event_id_endpoint=makai.free_endpoint(),
            answer_timeout_s=60.0,  # no Box of a test that answers is missing because the machine stood still
            ask_again_s=1.0,
            grouping_s=0.5,
        )

    @property
    def store(self) -> Any:
        return self.shared.store

    def triggering(self) -> TriggeringService:
        return TriggeringService(self.triggering_config, self.shared, NOMINAL)

    def events(self) -> EventService:
        self.announcing = EventService(self.event_config, self.shared)
        return self.announcing

    def box(self, box_id: str) -> Any:
        box = self.makai.box(self.brokers, box_id)
        self.makai.wait_for(lambda: self.brokers.acquisition.counters.of("boxes_listening", box_id))
        return box

    def listener(self) -> Any:
        """Subscribed to the events of the service that was made last, and which runs."""
        before = self.announcing.counters.total("subscriptions")
        listener = self.makai.peer().connect(zmq.SUB, self.event_config.event_endpoint)
        self.makai.wait_for(lambda: self.announcing.counters.total("subscriptions") > before)
        return listener

    def client(self) -> Any:
        """One that may ask Boxes: both it and the running event service get the answers."""
        counters = self.brokers.acquisition.counters
        self.makai.wait_for(lambda: counters.total("subscriptions") >= TOPICS)
        client = self.makai.client(self.brokers)
        self.makai.wait_for(lambda: counters.total("subscriptions") > TOPICS)
        return client


@pytest.fixture
def cloud(makai: Any, tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(makai, tmp_path)
    with ExitStack() as running:
        running.enter_context(makai.running(made.brokers.triggering))
        running.enter_context(makai.running(made.brokers.acquisition))
        yield made
    made.shared.close()


def heard(cloud: Cloud, service: TriggeringService, *boxes: Any) -> None:
    """Send quiet measurements until the service has heard every Box, not in an earlier run alone."""

    def all_heard() -> bool:
        for box in boxes:
            box.pub.send_multipart(box.measurement(timestamp_ms=now_ms()))
        time.sleep(0.02)
        return service._boxes._received_s.keys() >= {box.box_id for box in boxes}

    cloud.makai.wait_for(all_heard)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def end_wait(service: EventService, *tokens: str) -> None:
    """Of these events for answers, as if its time were over."""
    for token in tokens:
        event = service._open.get(token)
        assert event is not None
        event.give_up_s = 0.0


def data_command(box: Any, timeout_ms: int = 60_000) -> Command | None:
    """The next data command to this Box; acknowledgements are left out."""
    until = time.monotonic() + timeout_ms / 1000
    while time.monotonic() < until:
        command = box.command(timeout_ms=50)
        if command is not None and command.WhichOneof("command") == "data_command":
            return command
    return None


def test_a_dip_becomes_an_event_of_every_box(cloud: Cloud) -> None:
    service = cloud.triggering()
    with cloud.makai.running(service), cloud.makai.running(cloud.events()):
        listener = cloud.listener()
        one, four = cloud.box("1"), cloud.box("4")
        heard(cloud, service, one, four)
        at_ms = now_ms()
        one.pub.send_multipart(
            one.measurement(80.0, at_ms, start_ns=(at_ms - 500) * 10**6, end_ns=at_ms * 10**6)
        )
        commands = [data_command(box) for box in (one, four)]
        spans = {(command.data_command.start_ms, command.data_command.end_ms) for command in commands}
        # a window of the longest (1 s) more on both sides, and 5 % for the next one's length
        assert spans == {(at_ms - 500 - 1050, at_ms + 1050)}
        assert all(command.data_command.wait for command in commands)
        kind, token, instance = commands[0].identity.split("_")
        assert (kind, len(token)) == ("data", 30)
        assert commands[1].identity == commands[0].identity
        (record,) = cloud.store.unfinished_events()  # on disk before anybody was asked
        assert record.boxes_triggered == ("1", "4")
        for box, command in ((one, commands[0]), (four, commands[1])):
            box.push.send_multipart(box.answer(command))
        assert listener.poll(240_000)
        assert listener.recv_multipart() == [instance.encode(), str(record.event_id).encode()]
        event = cloud.store.event(record.event_id)
        assert [wave.box_id for wave in event.waveforms] == ["1", "4"]
        sample_requests = (spans.pop()[1] - (at_ms - 1550)) * 12
        assert sample_requests <= len(event.waveforms[0].counts) < sample_requests + 400
        assert event.waveforms[0].counts[:600].tolist() == [0] * 200 + [1] * 200 + [2] * 200
        assert not listener.poll(300), "announced once"

        def stages() -> set[str]:
            services = service, cloud.announcing, cloud.brokers.acquisition
            return {stage for each in services for stage in each.counters.stages.snapshot()}

        timed = {"measurement_judged", "measurement_stored", "event_asked", "event_finished"}
        cloud.makai.wait_for(lambda: stages() == timed | {"command_answered"})


def test_second_dip_in_the_span_is_one_event(cloud: Cloud) -> None:
    service = cloud.triggering()
    with cloud.makai.running(service):
        one, four = cloud.box("1"), cloud.box("4")
        heard(cloud, service, one, four)
        at_ms = now_ms()
        for box, shift in ((one, 0), (four, 300)):
            end_ms = at_ms + shift
            box.pub.send_multipart(
                box.measurement(80.0, end_ms, start_ns=(end_ms - 500) * 10**6, end_ns=end_ms * 10**6)
            )
        cloud.makai.wait_for(lambda: service.counters.total("triggers_merged") == 1)
        assert len(cloud.store.events()) == 1
        assert service.counters.total("triggers") == 1


def test_230_v_box_is_judged_by_230_v(cloud: Cloud) -> None:
    """A Box of 230 V is compared with 230 V and the store learns it."""
    # without `rapid_change`, which has its say where this machine stands still between two Measurements
    plugins = (PluginEntry(name="threshold"),)
    cloud.triggering_config = replace(cloud.triggering_config, plugins=plugins)
    service = cloud.triggering()
    with cloud.makai.running(service):
        one, four = cloud.box("1"), cloud.box("4")
        heard(cloud, service, four)  # a Box of 120 V beside it

        def send(rms: float) -> None:
            one.pub.send_multipart(one.measurement(rms, now_ms(), nominal_v=230.0, nominal_hz=50.0))

        send(230.0)
        record = cloud.makai.wait_for(lambda: cloud.store.box("1"))
        assert (record.nominal_v, record.nominal_hz) == (230.0, 50.0)
        send(207.5)
        send(206.5)
        event = cloud.makai.wait_for(cloud.store.events)
        assert [item.because for item in event] == ["Box 1, threshold: rms 206.5 V below 207"]
        cloud.makai.wait_for(lambda: service.counters.total("nominals_stored"))
        assert service.counters.total("decisions") == service.counters.total("nominals_stored") == 1


def test_barely_overlapping_windows_make_one_event(cloud: Cloud) -> None:
    """At 50 Hz two Boxes whose windows of 1.2 s barely overlap are one event."""
    service = cloud.triggering()
    with cloud.makai.running(service):
        one, four = cloud.box("1"), cloud.box("4")
        at_ms = now_ms()

        def window(box: Any, rms: float, end_ms: int) -> None:
            box.pub.send_multipart(
                box.measurement(rms, end_ms, start_ns=(end_ms - 1200) * 10**6, end_ns=end_ms * 10**6)
            )

        def both_heard() -> bool:
            for box in (one, four):
                window(box, 120.0, at_ms - 1200)
            return {part.name for part in service.health()} >= {"1", "4"}

        cloud.makai.wait_for(both_heard)
        window(one, 80.0, at_ms + 1190)  # the dip is at its beginning,
        window(four, 80.0, at_ms)  # and at this one's end
        cloud.makai.wait_for(lambda: service.counters.total("decisions") == 2)
        assert len(cloud.store.events()) == 1


def test_a_repeated_measurement_opens_one_event(cloud: Cloud) -> None:
    """A restarted service knows the event that the first copy opened."""
    at_ms = now_ms()
    for _ in range(2):
        service = cloud.triggering()
        with cloud.makai.running(service):
            one = cloud.box("1")
            heard(cloud, service, one)
            one.pub.send_multipart(one.measurement(80.0, at_ms, sequence=5, oldest_sequence=5))
            total = service.counters.total
            cloud.makai.wait_for(lambda total=total: total("triggers") + total("triggers_merged") == 1)
    assert len(cloud.store.events()) == 1


def test_measurements_are_stored_once_and_acknowledged(cloud: Cloud) -> None:
    service = cloud.triggering()
    with cloud.makai.running(service):
        one = cloud.box("1")
        heard(cloud, service, one)
        for sequence in (7, 8, 10, 10):
            one.pub.send_multipart(
                one.measurement(timestamp_ms=1000 * sequence, sequence=sequence, oldest_sequence=7)
            )

        def acknowledged(text: str) -> bool:
            command = one.command(timeout_ms=100)
            sent = None if command is None else command.send_command_to_plugin
            return sent is not None and (sent.plugin_name, sent.message, [*sent.takes]) == (
                "opq-ack",
                text,
                ["intervals", "losses"],
            )

        cloud.makai.wait_for(lambda: acknowledged("8,9-9,11-10"))
        one.pub.send_multipart(
            one.measurement(timestamp_ms=9000, sequence=9, oldest_sequence=7, backfilled=True)
        )
        cloud.makai.wait_for(lambda: acknowledged("10"))
        assert cloud.store.sequences("1", 0, 100) == [7, 8, 9, 10]
        # sent again after a reconnect: nothing new, and yet acknowledged
        one.pub.send_multipart(
            one.measurement(timestamp_ms=9000, sequence=9, oldest_sequence=7, backfilled=True)
        )
        cloud.makai.wait_for(lambda: acknowledged("10"))
        cloud.makai.wait_for(lambda: service.counters.total("measurements_doubled") >= 2)
    assert cloud.brokers.acquisition.counters.total("pending_now") == 0, "an acknowledgement is not answered"


def test_an_acknowledgement_continues_after_a_restart(cloud: Cloud) -> None:
    """An acknowledgement goes on after a restart where the store is."""
    first = cloud.triggering()
    with cloud.makai.running(first):
        one = cloud.box("1")
        heard(cloud, first, one)
        for sequence in range(1, 6):
            one.pub.send_multipart(one.measurement(sequence=sequence, oldest_sequence=1))
        cloud.makai.wait_for(lambda: cloud.store.highest_sequence("1") == 5)
    service = cloud.triggering()
    with cloud.makai.running(service):
        cloud.makai.wait_for(
            lambda: (
                one.pub.send_multipart(one.measurement(sequence=7, oldest_sequence=1)),
                (command := one.command(timeout_ms=300)) is not None
                and command.send_command_to_plugin.message == "5,6-6,8-7",
            )[1]
        )


def test_trends_are_stored_when_the_service_ends(cloud: Cloud) -> None:
    service = cloud.triggering()
    with cloud.makai.running(service):
        one = cloud.box("1")
        heard(cloud, service, one)
        for rms in (119.0, 123.0):
            one.pub.send_multipart(one.measurement(rms, timestamp_ms=90_000 + int(rms)))
        cloud.makai.wait_for(lambda: len(cloud.store.measurements("1", 0, 120_000)) == 2)
    (trend,) = cloud.store.trends("1", 0, 120_000)
    assert (trend.start_ms, trend.metrics["rms"]) == (60_000, (119.0, 123.0, 121.0))


def test_a_box_without_an_answer_is_missing(cloud: Cloud) -> None:
    service, events = cloud.triggering(), cloud.events()
    with cloud.makai.running(service), cloud.makai.running(events):
        listener = cloud.listener()
        one, four = cloud.box("1"), cloud.box("4")
        heard(cloud, service, one, four)
        one.pub.send_multipart(one.measurement(80.0, now_ms()))
        one.push.send_multipart(one.answer(data_command(one)))
        assert data_command(four) is not None
        cloud.makai.wait_for(lambda: events.counters.of("waveforms_stored", "1"))
        cloud.makai.wait_for(lambda: events.counters.of("asked_again", "4"))
        end_wait(events, cloud.store.events()[0].token)
        assert listener.poll(240_000)
        (record,) = cloud.store.events()
        assert (record.boxes_received, record.missing) == (("1",), {"4": "no answer within 60 s"})


def test_a_box_without_samples_is_missing_at_once(cloud: Cloud) -> None:
    service = cloud.triggering()
    with cloud.makai.running(service), cloud.makai.running(cloud.events()):
        one = cloud.box("1")
        heard(cloud, service, one)
        one.pub.send_multipart(one.measurement(80.0, now_ms()))
        one.push.send_multipart(one.answer(data_command(one), cycles=0))
        cloud.makai.wait_for(lambda: [record for record in cloud.store.events() if record.finished])
        (record,) = cloud.store.events()
        assert record.missing == {"1": "no samples of this span"}


def test_other_samples_are_described_by_a_readable_time() -> None:
    """Where a gateway holds other samples, the reason has a time and not nanoseconds."""
    empty = Response()
    empty.get_data_response.available_start_ns, empty.get_data_response.available_end_ns = (
        10**18,
        10**18 + 10**13,
    )
    assert _why_empty(empty) == (
        "no samples of this span; its gateway holds 2001-09-09 01:46:40 to 2001-09-09 04:33:20 UTC"
    )


def test_an_old_event_is_asked_for_and_finished(cloud: Cloud) -> None:
    """It is from before a restart."""
    event_id = cloud.store.open_event(Trigger("T" * 30, 10**9, 2 * 10**9, ("1",), "1", "test"), "d")
    with cloud.makai.running(cloud.triggering()):
        one = cloud.box("1")
        with cloud.makai.running(cloud.events()):
            listener = cloud.listener()
            command = data_command(one)
            assert (command.data_command.start_ms, command.data_command.end_ms) == (1000, 2000)
            one.push.send_multipart(one.answer(command))
            assert listener.poll(240_000)
            assert listener.recv_multipart()[1] == str(event_id).encode()
        assert cloud.store.event_record(event_id).finished


def test_an_unanalysed_event_is_announced_after_a_restart(cloud: Cloud) -> None:
    event_id = cloud.store.open_event(Trigger("T" * 30, 1, 2, (), "1", "test"), "d")
    cloud.store.finish_event(event_id)
    with cloud.makai.running(cloud.events()):
        listener = cloud.makai.peer().connect(zmq.SUB, cloud.event_config.event_endpoint)
        assert listener.poll(240_000)
        assert listener.recv_multipart()[1] == str(event_id).encode()


def test_answers_to_an_original_makai_are_grouped(cloud: Cloud) -> None:
    with cloud.makai.running(cloud.events()):
        listener, client = cloud.listener(), cloud.client()
        boxes = [cloud.box("1"), cloud.box("4")]
        for box in boxes:
            client.ask(box.box_id, "data_" + "x" * 30 + "_instance")
            box.push.send_multipart(box.answer(data_command(box)))
        assert listener.poll(240_000)
        instance, event_id = listener.recv_multipart()
        assert instance == b"instance"
        cloud.makai.wait_for(
            lambda: set(cloud.store.event_record(int(event_id)).boxes_received) == {"1", "4"}
        )
        assert len(cloud.store.events()) == 1


def test_a_late_answer_joins_its_finished_event(cloud: Cloud) -> None:
    token = "L" * 30
    event_id = cloud.store.open_event(Trigger(token, 10**9, 2 * 10**9, ("1",), "1", "test"), "d")
    cloud.store.mark_missing(event_id, "1", "slow")
    cloud.store.finish_event(event_id)
    events = cloud.events()
    with cloud.makai.running(events):
        client, one = cloud.client(), cloud.box("1")
        client.ask("1", f"data_{token}_late")
        one.push.send_multipart(one.answer(data_command(one)))
        cloud.makai.wait_for(lambda: events.counters.total("answers_late") == 1)
        cloud.makai.wait_for(lambda: cloud.store.event(event_id).waveforms)
        assert len(cloud.store.events()) == 1


def test_a_boxs_gain_becomes_its_calibration_constant(cloud: Cloud) -> None:
    with cloud.makai.running(cloud.events()):
        client, one = cloud.client(), cloud.box("1")
        client.ask("1", "data_" + "g" * 30 + "_i")
        command = data_command(one)
        wave = Waveform("1", 10**9, 5, TimeSource.NTP, 12_000_000, 0.008, 0, np.zeros(400, np.int16))
        one.push.send_multipart(waveform_to_frames(wave, "1", command.seq, 0))
        record = cloud.makai.wait_for(lambda: cloud.store.box("1"))
        assert record.calibration_constant == pytest.approx(125.0)
        assert (record.nominal_v, record.nominal_hz) == (None, None), "not stated"


def test_every_request_gets_an_event_id(cloud: Cloud) -> None:
    """Any client gets one; `exit` is only a text here."""
    with cloud.makai.running(cloud.events()):
        asker = cloud.makai.peer().connect(zmq.REQ, cloud.event_config.event_id_endpoint)
        given = []
        for text in (b"", b"exit", b"\xff\xfe", b""):
            asker.send(text)
            assert asker.poll(240_000)
            given.append(int(asker.recv()))
        assert given == list(range(given[0], given[0] + 4))
        assert cloud.store.open_event(Trigger("n" * 30, 1, 2, (), "1", ""), "") == given[-1] + 1


@pytest.mark.parametrize(
    "identity", ["data_only", "data_a_b_c", "data_" + "m" * 30 + "_i"], ids=["two", "four", "no one-of"]
)
def test_a_malformed_answer_is_counted(cloud: Cloud, identity: str) -> None:
    """A malformed answer is counted and the service goes on."""
    events = cloud.events()
    with cloud.makai.running(events):
        client, one = cloud.client(), cloud.box("1")
        client.ask("1", identity)
        command = data_command(one)
        assert command is not None
        frames = one.answer(command)
        if identity.endswith("m_i"):
            frames = [Response(box_id=1, seq=command.seq).SerializeToString()]
        one.push.send_multipart(frames)
        cloud.makai.wait_for(lambda: events.counters.total("malformed") == 1)
        assert cloud.store.events() == []


def test_a_crashing_plug_in_is_counted(cloud: Cloud, tmp_path: Path) -> None:
    """The next plug-in still decides."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "crash.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Config: pass\n"
        "def begin(config): return None\n"
        "def decide(measurement, nominal, config, state): raise RuntimeError('foreign')\n"
    )
    cloud.triggering_config = replace(
        cloud.triggering_config,
        plugins=(PluginEntry(name="crash"), PluginEntry(name="threshold")),
        plugin_folders=(folder,),
    )
    service = cloud.triggering()
    with cloud.makai.running(service):
        one = cloud.box("1")
        heard(cloud, service, one)
        one.pub.send_multipart(one.measurement(80.0, now_ms()))
        assert data_command(one) is not None
        cloud.makai.wait_for(lambda: service.counters.of("plugin_crashes", "crash"))
        cloud.makai.wait_for(
            lambda: any(part.name == "plugin crash" and not part.ok for part in service.health())
        )


def test_every_plug_in_sees_a_triggering_measurement(cloud: Cloud, tmp_path: Path) -> None:
    """Also one that another plug-in triggers on."""
    (tmp_path / "witness.py").write_text(
        "from dataclasses import dataclass\nseen = []\n@dataclass\nclass Config: pass\n"
        "def begin(config): return None\n"
        "def decide(measurement, nominal, config, state):\n"
        "    seen.append(measurement.metrics['rms'].min)\n"
        "    return None, state\n"
    )
    cloud.triggering_config = replace(
        cloud.triggering_config,
        plugins=(PluginEntry(name="threshold"), PluginEntry(name="witness")),
        plugin_folders=(tmp_path,),
    )
    service = cloud.triggering()
    with cloud.makai.running(service):
        one = cloud.box("1")
        heard(cloud, service, one)
        one.pub.send_multipart(one.measurement(80.0, now_ms()))
        assert data_command(one) is not None
        seen = sys.modules["opq_plugin_trigger_witness"].seen
        cloud.makai.wait_for(lambda: seen[-1] == 80.0)


def test_endless_id_requests_do_not_delay_answers(cloud: Cloud) -> None:
    """One client requests ids without end."""
    events = cloud.events()
    with cloud.makai.running(events):
        client, one = cloud.client(), cloud.box("1")
        rude = cloud.makai.peer().connect(zmq.DEALER, cloud.event_config.event_id_endpoint)
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                with contextlib.suppress(zmq.Again):
                    rude.send_multipart([b"", b""], zmq.NOBLOCK)

        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            cloud.makai.wait_for(lambda: events.counters.total("ids_given") > 100)
            client.ask("1", "data_" + "f" * 30 + "_i")
            one.push.send_multipart(one.answer(data_command(one)))
            cloud.makai.wait_for(lambda: events.counters.total("waveforms_stored") == 1)
        finally:
            stop.set()
            flooding.join()


def test_a_dip_at_1970_is_requested(cloud: Cloud) -> None:
    """A Box without a clock: nothing before 1970 can be asked for."""
    triggering = cloud.triggering()
    with cloud.makai.running(triggering):
        one = cloud.box("1")
        heard(cloud, triggering, one)
        one.pub.send_multipart(one.measurement(50.0, timestamp_ms=2))
        command = data_command(one)
        assert command.data_command.start_ms == 0
        assert len(cloud.store.events()) == 1


def test_a_completing_event_is_not_announced(cloud: Cloud) -> None:
    """An original Mauka reads what is announced, and would store the one sag of both twice."""
    at_ns = (now_ms() - 10_000) * 1_000_000
    onset = Trigger("o" * 30, at_ns, at_ns + 10**9, ("1",), "1", "a dip")
    first = cloud.store.open_event(onset, "")
    whole = replace(onset, token="w" * 30, end_ns=at_ns + 5 * 10**9, completes=first)
    second = cloud.store.open_event(whole, "")
    after = cloud.store.open_event(replace(onset, token="a" * 30), "")
    service = cloud.events()
    with cloud.makai.running(service):
        listener = cloud.listener()
        end_wait(service, "o" * 30, "w" * 30, "a" * 30)  # no Box answered
        announced = [int(listener.recv_multipart()[1]) for _ in range(2)]
        cloud.makai.wait_for(lambda: service.counters.total("completions_finished") == 1)
    assert sorted(announced) == [first, after]
    assert not listener.poll(100)
    record = cloud.store.event_record(second)
    assert (record.finished, record.completes) == (True, first)
    assert [each.event_id for each in cloud.store.unanalysed_events()] == [first, second, after]


def test_a_persons_request_is_asked_at_once(cloud: Cloud) -> None:
    """The page opens an event in the store; only the event service sends the command."""
    box = cloud.box("1")
    requests = WaveformRequests(cloud.store)
    with cloud.makai.running(cloud.events()):
        began_ns = time.time_ns()
        event_id = requests.open_request("1", "now-3s", "1", "ada", began_ns)
        command = box.command()
        assert command is not None and command.box_id == 1
        asked = command.data_command
        assert (asked.start_ms, asked.end_ms) == pytest.approx(
            (began_ns // 10**6 - 3000, began_ns // 10**6 - 2000), abs=1
        )
        box.push.send_multipart(box.answer(command))
        cloud.makai.wait_for(lambda: cloud.store.event_record(event_id).finished)
    record = cloud.store.event_record(event_id)
    assert request_state(record, "1", time.time_ns()).name == "arrived", record
    assert [each.event_id for each in requests.requests_of("1")] == [event_id]

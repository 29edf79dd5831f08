"""What the brokers do with frames: on byte for byte, to whom they belong, or counted."""

import random
import threading
import time
from contextlib import closing
from typing import Any

import pytest
import zmq

from opq_cloud.core.backend.fanout_socket import FanoutSocket
from opq_cloud.core.backend.peers import MAX_ALL
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringBrokerSection as TriggeringConfig
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_proto.errors import ForeignError, FrameError, PortBusyError
from opq_proto.measurement.wire import measurement_from_frames
from opq_proto.wire.measurement_turns import request_turns, waiting_measurements
from opq_proto.wire.opqbox3_pb2 import Command, Measurement


def test_all_frames_of_a_measurement_are_passed_on(makai: Any) -> None:
    """Whatever their number."""
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)
        frames = [*box.measurement(timestamp_ms=9), b"a third", b""]
        box.pub.send_multipart(frames)
        assert client.measurements.poll(240_000)
        assert client.measurements.recv_multipart() == frames


def test_a_legacy_trigger_message_is_translated(makai: Any) -> None:
    """Its topic has no padding."""
    from opq_proto.wire.opq_pb2 import TriggerMessage

    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)
        body = TriggerMessage(id=1, time=123, frequency=60.0, rms=120.0, thd=0.02).SerializeToString()
        box.pub.send_multipart([b"1", body])
        assert client.measurements.poll(240_000)
        topic, translated = client.measurements.recv_multipart()
        heard = Measurement.FromString(translated)
        assert (topic, heard.box_id, heard.timestamp_ms) == (b"0001", 1, 123)
        assert {key: metric.average for key, metric in heard.metrics.items()} == {
            "f": 60.0,
            "rms": 120.0,
            "thd": pytest.approx(0.02),
        }


@pytest.mark.parametrize("frames", [[b"0001"], [b"one", b"\x08\x01"], [b"\xb2", b"\x08\x01"], [b""]])
def test_a_malformed_measurement_is_counted(makai: Any, frames: list[bytes]) -> None:
    """A malformed measurement is counted and the stream goes on."""
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)
        box.pub.send_multipart(frames)
        makai.wait_for(lambda: brokers.triggering.counters.of("malformed", "1") == 1)
        assert makai.arrives(box, client)


def test_a_payload_is_passed_on_unread(makai: Any) -> None:
    """It is passed on under the topic of its key."""
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)
        unreadable, of_four = [b"0001", b"\xff" * 200], [b"0001", box.measurement(box_id=4)[1]]
        for frames in (unreadable, of_four):
            box.pub.send_multipart(frames)
            assert client.measurements.poll(240_000)
            assert client.measurements.recv_multipart() == frames
        with pytest.raises(FrameError):
            measurement_from_frames(unreadable)
        with pytest.raises(ForeignError):
            measurement_from_frames(of_four)


def test_a_command_reaches_its_box_and_returns(makai: Any) -> None:
    """The answer returns to the client that asked."""
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
        client.ask("1", "mine_1_2", 1000, 2000)
        command = box.command()
        assert command is not None
        assert (command.data_command.start_ms, command.data_command.end_ms) == (1000, 2000)
        frames = box.answer(command)
        box.push.send_multipart(frames)
        assert client.answers.poll(240_000)
        assert client.answers.recv_multipart() == [b"mine_1_2", *frames]
        box.push.send_multipart(frames)  # a second answer has no receiver
        makai.wait_for(lambda: brokers.acquisition.counters.of("responses_not_asked_for", "1") == 1)
        assert not client.answers.poll(100)


def test_a_box_gets_only_its_own_commands(makai: Any) -> None:
    """Also if its id is the beginning of another one."""
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        boxes = {box_id: makai.box(brokers, box_id) for box_id in ("1", "10", "4")}
        client = makai.client(brokers)
        makai.wait_for(lambda: brokers.acquisition.counters.total("boxes_listening") >= 3)
        for box_id in ("10", "4", "10", "1"):
            client.ask(box_id, "a_b_c")
        heard = {}
        for box_id, wanted in (("1", 1), ("10", 2), ("4", 1)):
            heard[box_id] = [boxes[box_id].sub.recv_multipart() for _ in range(wanted)]
        assert {box_id: {frames[0] for frames in found} for box_id, found in heard.items()} == {
            "1": {b"1\0"},  # as an original Box's subscription "1" matches it
            "10": {b"10"},
            "4": {b"4"},
        }
        assert not boxes["1"].sub.poll(100), "the two for Box 10 were sent before its own"


def test_sequence_numbers_rise_by_one(makai: Any) -> None:
    """They do not start at the same number each time."""
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
        for k in range(3):
            client.ask("1", f"a_{k}_b")
        numbers = [box.command().seq for _ in range(3)]
        assert [(number - numbers[0]) % 2**32 for number in numbers] == [0, 1, 2]


def test_only_the_asked_box_may_answer(makai: Any) -> None:
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        asked, other, client = makai.box(brokers, "1"), makai.box(brokers, "4"), makai.client(brokers)
        makai.wait_for(lambda: brokers.acquisition.counters.total("boxes_listening") >= 2)
        client.ask("1", "a_b_c")
        command = asked.command()
        assert command is not None
        other.push.send_multipart(other.answer(command))  # its own id, another's number
        other.push.send_multipart(other.answer(command, box_id=1))  # another's id
        makai.wait_for(lambda: brokers.acquisition.counters.of("foreign", "4") == 2)
        assert not client.answers.poll(100)
        asked.push.send_multipart(asked.answer(command))
        assert client.answers.poll(240_000)


def test_a_box_gets_nothing_by_subscribing_to_another(makai: Any) -> None:
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        box, client = makai.box(brokers, "4"), makai.client(brokers)
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "4"))
        box.sub.subscribe("1")
        makai.wait_for(lambda: brokers.acquisition.counters.of("foreign_subscriptions", "4") == 1)
        client.ask("1", "a_b_c")
        client.ask("10", "a_b_c")
        assert box.command(timeout_ms=300) is None
        client.ask("4", "a_b_c")
        assert box.command().box_id == 4


def test_box_that_subscribes_to_everything_gets_its_own(makai: Any) -> None:
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        box, client = makai.box(brokers, "4", topic=""), makai.client(brokers)
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "4"))
        client.ask("1", "a_b_c")
        client.ask("4", "a_b_c")
        heard = []
        while box.sub.poll(60_000 if b"4" not in [topic for topic, _ in heard] else 200):
            heard.append(box.sub.recv_multipart())
        # it may be of the C++ generation, whose form it passes over
        [command] = [Command.FromString(body) for topic, body in heard if topic != b"evget"]
        assert command.box_id == 4
        box.push.send_multipart(box.answer(command))  # it is not
        makai.wait_for(lambda: brokers.acquisition.counters.of("responses", "4"))
        client.ask("4", "a_b_c")
        topics = []
        while box.sub.poll(200 if b"4" in topics else 60_000):
            topics.append(box.sub.recv_multipart()[0])
        assert [topic for topic in topics if topic != b"evget"] == [
            b"4"
        ]  # both until the answer is looked at


def test_a_returning_box_gets_its_commands(makai: Any) -> None:
    """A Box that leaves and comes back hears its commands again."""
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        client = makai.client(brokers)
        for times in (1, 2):
            box = makai.box(brokers, "1")
            makai.wait_for(
                lambda times=times: brokers.acquisition.counters.of("boxes_listening", "1") == times
            )
            client.ask("1", "a_b_c")
            assert box.command() is not None
            box.close()


@pytest.mark.parametrize("body", [b"", b"\xff\xff", Command(box_id=1).SerializeToString()])
def test_a_malformed_command_is_counted(makai: Any, body: bytes) -> None:
    """A malformed command is counted and the next is served."""
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
        client.requests.send(body)
        client.requests.send_multipart([b"two", b"frames"])
        makai.wait_for(lambda: brokers.acquisition.counters.total("malformed_commands") == 2)
        client.ask("1", "a_b_c")
        assert box.command() is not None


def test_a_malformed_response_is_counted(makai: Any) -> None:
    """A malformed response is counted and the next is served."""
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
        box.push.send(b"\xff\xff")
        makai.wait_for(lambda: brokers.acquisition.counters.of("malformed", "1") == 1)
        client.ask("1", "a_b_c")
        box.push.send_multipart(box.answer(box.command()))
        assert client.answers.poll(240_000)


def test_a_busy_port_is_reported_in_one_line(makai: Any) -> None:
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        again = TriggeringBroker(
            TriggeringConfig(
                box_endpoint=brokers.triggering_config.box_endpoint, backend_endpoint=makai.free_endpoint()
            ),
            brokers.keys,
        )
        with pytest.raises(PortBusyError, match=r"triggering-broker cannot bind .*--port-offset") as caught:
            again.run(threading.Event())
        assert "\n" not in str(caught.value)


def test_only_subscribers_that_request_turns_get_them(makai: Any) -> None:
    """Others get each Measurement by itself."""
    brokers, own = makai.brokers(), makai.peer()
    counters = brokers.triggering.counters
    reads, two = own.context.socket(zmq.SUB), own.context.socket(zmq.SUB)
    request_turns(reads)
    for subscriber, topics in ((reads, (b"",)), (two, (b"0004", b"0010"))):
        for each in topics:
            subscriber.subscribe(each)
        subscriber.connect(brokers.triggering_config.backend_endpoint)

    def heard(subscriber: Any, *wanted: list[bytes]) -> list[list[bytes]]:
        came: list[list[bytes]] = []
        while not all(each in came for each in wanted):
            assert subscriber.poll(240_000)
            came += waiting_measurements(subscriber, 99)
        return came

    with makai.running(brokers.triggering):
        box, other, foreign = makai.box(brokers, "1"), makai.box(brokers, "4"), makai.client(brokers)
        makai.wait_for(lambda: counters.total("subscriptions") >= 4)
        assert makai.arrives(box, foreign) and makai.arrives(other, foreign)
        sent = [box.measurement(timestamp_ms=number) for number in range(5, 9)]
        for frames in sent:
            box.pub.send_multipart(frames)
        other.pub.send_multipart(last := other.measurement(timestamp_ms=9))
        for subscriber in (reads, foreign.measurements):
            assert [each for each in heard(subscriber, sent[-1], last) if each in sent] == sent
        assert {topic for topic, _ in heard(two, last)} == {b"0004"}
        left = counters.total("unsubscriptions")
        foreign.measurements.unsubscribe(b"")
        makai.wait_for(lambda: counters.total("unsubscriptions") > left)
        foreign.measurements.subscribe(b"0001")
        assert makai.arrives(box, foreign, timestamp_ms=77), "heard again, of one Box"
    reads.close(0)
    two.close(0)


def test_an_unpadded_box_number_is_served_once(makai: Any) -> None:
    """A client may name a Box without leading zeros; others get its data once."""
    brokers, own = makai.brokers(), makai.peer()
    counters = brokers.triggering.counters
    with makai.running(brokers.triggering), closing(own.context.socket(zmq.SUB)) as short:
        short.subscribe(b"1")
        short.connect(brokers.triggering_config.backend_endpoint)
        box, other, client = makai.box(brokers, "1"), makai.box(brokers, "4"), makai.client(brokers)
        makai.wait_for(lambda: counters.total("subscriptions") >= 2)
        assert makai.arrives(box, client) and makai.arrives(other, client)
        sent = [box.measurement(timestamp_ms=number) for number in range(5, 9)]
        for frames in sent:
            box.pub.send_multipart(frames)
        box.pub.send_multipart(last := box.measurement(timestamp_ms=9))
        under_1, whole = list[list[bytes]](), list[list[bytes]]()
        while [b"1", last[1]] not in under_1:
            assert short.poll(240_000)
            under_1.append(short.recv_multipart())
        while last not in whole:
            assert client.measurements.poll(240_000)
            whole.append(client.measurements.recv_multipart())
        assert [each for each in under_1 if [b"0001", each[1]] in sent] == [[b"1", body] for _, body in sent]
        assert {name for name, _ in under_1} == {b"1"}
        assert [each for each in whole if each[1] in [body for _, body in sent]] == sent


def test_a_connection_with_endless_subscriptions_is_ended(makai: Any) -> None:
    brokers, own = makai.brokers(), makai.peer()
    counters = brokers.triggering.counters
    with makai.running(brokers.triggering), closing(own.context.socket(zmq.XSUB)) as busy:
        busy.connect(brokers.triggering_config.backend_endpoint)
        for _ in range(MAX_ALL + 1):
            busy.send(b"\x01")
            busy.send(b"\x00")
        makai.wait_for(lambda: counters.total("backend_ended") == 1)


def test_a_slow_subscriber_does_not_delay_others() -> None:
    """Messages that a slow subscriber misses are counted; others do not wait."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    counters = ServiceCounters()
    fanout = FanoutSocket(context, counters, queue_messages=200)
    fanout.bind("tcp://127.0.0.1:*", "test", "test")
    endpoint = fanout.socket.getsockopt_string(zmq.LAST_ENDPOINT)
    slow, quick = context.socket(zmq.SUB), context.socket(zmq.SUB)
    slow.rcvhwm = 10
    try:
        for subscriber in (slow, quick):
            subscriber.subscribe(b"")
            subscriber.connect(endpoint)
        end_s = time.monotonic() + 240
        while counters.total("subscriptions") < 2 and time.monotonic() < end_s:
            time.sleep(0.01)
            fanout.read_subscriptions()
        assert counters.total("subscriptions") == 2
        body = b"x" * 100_000
        received = 0
        for _ in range(600):
            fanout.send([b"0001", body])
            if quick.poll(240_000):
                quick.recv_multipart()
                received += 1
        assert received == 600
        assert counters.total("subscriber_full") > 0
    finally:
        fanout.close()
        context.destroy(linger=0)


def test_a_subscriber_during_a_pause_gets_waiting_messages(
    makai: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that exchanges its key ends its first connection when the second has been let in."""
    brokers = makai.brokers()
    broker = brokers.triggering
    passed, stands, goes_on = broker._passed, threading.Event(), threading.Event()

    def passed_later(*values: Any) -> Any:
        stands.set()
        goes_on.wait(240)
        return passed(*values)

    with makai.running(broker):
        box = makai.box(brokers, "1")
        assert makai.arrives(box, makai.client(brokers))
        frames = box.measurement(timestamp_ms=77)
        monkeypatch.setattr(broker, "_passed", passed_later)

        def heard_by_a_new_one() -> bool:
            stands.clear()
            goes_on.clear()
            box.pub.send_multipart(frames)
            assert stands.wait(240)
            new = makai.client(brokers).measurements
            time.sleep(0.1)  # until its subscription has come; else another one is tried
            goes_on.set()
            return bool(new.poll(1000)) and new.recv_multipart() == frames

        makai.wait_for(heard_by_a_new_one)


def test_no_frames_of_peers_stop_a_broker(makai: Any) -> None:
    dice = random.Random(20261120)
    brokers = makai.brokers()
    with makai.running(brokers.triggering), makai.running(brokers.acquisition):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
        good = box.measurement()[1]
        for _ in range(300):
            frames = [dice.randbytes(dice.choice((0, 1, 4, 30))) for _ in range(dice.randrange(1, 5))]
            if dice.random() < 0.5:
                damaged = bytearray(good)
                damaged[dice.randrange(len(good))] ^= 1 << dice.randrange(8)
                frames = [b"0001", bytes(damaged)]
            box.pub.send_multipart(frames)
            box.push.send_multipart(frames)
            client.requests.send_multipart(frames)
            box.sub.subscribe(frames[-1])
        fresh = makai.box(brokers, "4")
        assert makai.arrives(fresh, makai.client(brokers))
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "4"))
        client.ask("4", "a_b_c")
        fresh.push.send_multipart(fresh.answer(fresh.command()))
        makai.wait_for(lambda: brokers.acquisition.counters.of("responses", "4") == 1)


def test_an_oversized_frame_or_topic_is_refused(makai: Any) -> None:
    """libzmq keeps a topic byte by byte in nodes: one of 100 MB cost the cloud 5 GB."""
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        box, client, rude = makai.box(brokers, "1"), makai.client(brokers), makai.client(brokers)
        counters = brokers.acquisition.counters
        makai.wait_for(lambda: counters.of("boxes_listening", "1") and counters.total("subscriptions") >= 2)
        topics = counters.total("subscriptions")
        blob = bytes(100_000_000)
        cut = [makai.watch(each) for each in (rude.requests, box.push)]
        rude.requests.send(blob, copy=False)
        rude.answers.subscribe(b"x" * 5000)
        box.push.send_multipart([b"", blob], copy=False)
        for each in cut:
            makai.wait_for(lambda each=each: makai.ends(each))
        client.ask("1", "mine_1_2")
        command = box.command()
        assert command is not None
        box.push.send_multipart(box.answer(command))
        assert client.answers.poll(240_000)
        assert counters.total("malformed_commands") == counters.of("malformed", "1") == 0
        assert counters.total("subscriptions") == topics

"""The live hub: bounded, counted, and nothing missed by a page that comes back."""

import asyncio
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import demo
import pytest

from opq_cloud.core.service import ServiceCounters
from opq_cloud.store import open_store
from opq_cloud.view.live import feed_messages as live_messages
from opq_cloud.view.live import feed_streams as live_streams
from opq_cloud.view.live import hub as live
from opq_cloud.view.live.feed_messages import LiveMessage
from opq_cloud.view.live.feed_streams import THIS_MACHINE, FeedHolder, Subscriber
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.live.reader import LiveReader
from opq_cloud.view.live.route import LiveRoute
from opq_cloud.view.live.seen_live import SeenFeed
from opq_cloud.view.pages.visible.seen_hub import SeenHub
from opq_cloud.view.web.visitors import Visitor
from opq_cloud.view.web.words import state
from opq_proto.messages import Incident, Measurement, Metric


def _measurement(box_id: str, t_ms: int, rms_v: float = 120.0) -> Measurement:
    return Measurement(box_id, t_ms, {"rms": Metric(rms_v - 1, rms_v + 1, rms_v), "f": Metric(59, 61, 60)})


def _incident(incident_id: int, box_ids: tuple[str, ...] = ("1",)) -> Incident:
    return Incident(incident_id, "sag", box_ids, (1,), 10**18, 10**18 + 10**8, True, 85.0, ())


def _events(messages: list[LiveMessage]) -> list[tuple[str, object]]:
    return [
        (item.event, json.loads(item.data).get("id", json.loads(item.data).get("box_id")))
        for item in messages
    ]


def test_a_new_page_gets_the_newest_values() -> None:
    """It gets no old incident."""
    hub = LiveHub(ServiceCounters())
    hub.accept_incident(_incident(1))
    for t_ms in (1000, 2000, 3000):
        hub.accept_measurement(_measurement("1", t_ms, t_ms / 25))
    page = hub.subscribe(lambda: None, None)
    assert page is not None
    (message,) = hub.waiting_messages(page)
    assert json.loads(message.data)["rms_v"] == 120.0


def test_a_returning_page_gets_what_changed() -> None:
    hub = LiveHub(ServiceCounters())
    page = hub.subscribe(lambda: None, None)
    assert page is not None
    hub.accept_incident(_incident(1))
    hub.accept_incident(_incident(2))
    last = hub.waiting_messages(page)[-1].event_id
    hub.unsubscribe(page)

    same = hub.subscribe(lambda: None, last)
    assert same is not None and hub.waiting_messages(same) == []
    hub.accept_incident(_incident(2, ("1", "4")))
    hub.accept_incident(_incident(3))
    back = hub.subscribe(lambda: None, last)
    assert back is not None and _events(hub.waiting_messages(back)) == [("incident", 2), ("incident", 3)]
    plain = hub.subscribe(lambda: None, "2")
    assert plain is not None and _events(hub.waiting_messages(plain)) == [("incident", 3)]


def test_a_strange_last_event_id_counts_as_none() -> None:
    hub = LiveHub(ServiceCounters())
    hub.accept_incident(_incident(1))
    for after in ("", "x", "-1", "9" * 40, "1e3", "٣"):
        page = hub.subscribe(lambda: None, after)
        assert page is not None and hub.waiting_messages(page) == []


def test_an_incident_is_reported_again_when_changed() -> None:
    hub = LiveHub(ServiceCounters())
    page = hub.subscribe(lambda: None, None)
    assert page is not None
    assert hub.accept_incident(_incident(1))
    assert not hub.accept_incident(_incident(1))
    assert hub.accept_incident(_incident(1, ("1", "4")))
    assert [json.loads(item.data)["box_ids"] for item in hub.waiting_messages(page)] == [["1"], ["1", "4"]]
    hub.drop_incident(1)
    assert _events(hub.waiting_messages(page)) == [("incident_gone", 1)]


def test_incidents_of_before_are_no_news() -> None:
    """The store may take longer to read than View waits for it: streams are open by then."""
    counters = ServiceCounters()
    hub = LiveHub(counters)
    hub.seeding = True
    fresh, back = hub.subscribe(lambda: None, None), hub.subscribe(lambda: None, "99")
    assert fresh is not None and back is not None
    for number in range(1, 101):
        hub.accept_incident(_incident(number))
    assert hub.waiting_messages(fresh) == [] and _events(hub.waiting_messages(back)) == [("incident", 100)]
    hub.seeding = False
    hub.accept_incident(_incident(101))
    assert [_events(hub.waiting_messages(each)) for each in (fresh, back)] == [[("incident", 101)]] * 2
    assert counters.total("live_dropped") == 0


def test_incidents_of_the_store_come_once() -> None:
    """A stream that continues after a restart of View reads them before the hub has them."""
    hub, nobody = LiveHub(ServiceCounters()), cast(Any, None)
    messages = [live_messages.incident_message(_incident(number), {}) for number in (7, 5, 3)]
    route = LiveRoute(hub, nobody, nobody, nobody, lambda limit: messages[:limit])
    older, after = asyncio.run(route._older("4"))
    assert [each.incident.incident_id for each in older if each.incident] == [5, 7]
    hub.seeding = True
    stream = hub.subscribe(lambda: None, after)
    assert stream is not None
    for number in (3, 5, 7, 8):
        hub.accept_incident(_incident(number))
    assert _events(hub.waiting_messages(stream)) == [("incident", 8)]
    assert asyncio.run(route._older("2")) == ([], "2"), "the hub has them"


def test_the_store_is_read_once_at_the_start(tmp_path: Path) -> None:
    with closing(open_store(None, tmp_path)) as store:
        demo.put_together(store, 1, demo.findings_in([demo.waveform_of(demo.OUTLETS[0], 10**18)]))
        hub = LiveHub(ServiceCounters())
        reader = LiveReader(store, hub, ServiceCounters(), demo.ViewSection())
        assert hub.seeding
        reader._seed()
        assert hub.known_incidents() == {1} and not hub.seeding
        assert not reader._incidents_due and reader._revision == store.join_revision()


def test_a_removal_reaches_only_its_viewers() -> None:
    """The removal of an incident is sent only to those who saw a part of it."""
    hub = LiveHub(ServiceCounters())
    visitors = Visitor(public=frozenset({"4"})), Visitor(full=frozenset({"1"})), Visitor(everything=True)
    streams = [hub.subscribe(lambda: None, None, SeenFeed(each).shown) for each in visitors]
    hub.accept_incident(_incident(1))
    hub.drop_incident(1)
    sent = [[each.event for each in hub.waiting_messages(stream)] for stream in streams if stream]
    assert sent == [[], *[["incident", "incident_gone"]] * 2]


def test_a_slow_page_loses_only_old_measurements() -> None:
    """They are counted; it loses no incident."""
    counters = ServiceCounters()
    hub = LiveHub(counters)
    page = hub.subscribe(lambda: None, None)
    assert page is not None
    hub.accept_incident(_incident(1))
    for k in range(live_streams.MEASUREMENTS_WAITING + 10):
        hub.accept_measurement(_measurement("1", 1000 + k))
    messages = hub.waiting_messages(page)
    assert len(messages) == 1 + live_streams.MEASUREMENTS_WAITING
    assert messages[0].event == "incident"
    assert json.loads(messages[1].data)["timestamp_ms"] == 1010
    assert counters.of("live_dropped", "measurement") == 10


def test_pages_and_boxes_are_bounded() -> None:
    counters = ServiceCounters()
    hub = LiveHub(counters, streams=8)
    pages = [hub.subscribe(lambda: None, None) for _ in range(8)]
    assert hub.full()
    assert hub.subscribe(lambda: None, None) is None
    assert counters.total("clients_refused") >= 1
    first = pages[0]
    assert first is not None
    hub.unsubscribe(first)
    assert not hub.full()
    for k in range(live.RECENT_INCIDENTS + 5):
        hub.accept_incident(_incident(k + 1))
    assert len(hub.known_incidents()) == live.RECENT_INCIDENTS


def test_the_newest_incidents_began_last() -> None:
    """The newest incidents began last; the highest number is that of a visible one."""
    hub = LiveHub(ServiceCounters())
    for number, box_id, start_s in ((1, "1", 50), (2, "4", 60), (3, "1", 10)):
        incident = replace(_incident(number, (box_id,)), start_ns=start_s * 10**9)
        hub.accept_incident(incident)
    newest = [each.incident.incident_id for each in hub.newest_incidents(9) if each.incident]
    assert newest == [2, 1, 3] and hub.highest_incident() == 3
    seen = SeenHub(hub, Visitor(full=frozenset({"4"})))
    assert (seen.highest_incident(), SeenHub(hub, Visitor()).highest_incident()) == (2, 0)


def test_a_holders_streams_are_limited() -> None:
    """Streams of one network or account are limited, and ended ones make room."""
    counters = ServiceCounters()
    hub = LiveHub(counters, streams=100)
    seven, eight = FeedHolder("192.0.2.7"), FeedHolder("192.0.2.8")
    assert hub.streams_of_holder == 25
    greedy = [hub.subscribe(lambda: None, None, holder=seven) for _ in range(26)]
    assert [each is None for each in greedy] == [False] * 25 + [True]
    assert hub.full_of(seven) and not hub.full_of(eight) and not hub.full_of(THIS_MACHINE)
    assert counters.total("clients_refused_of_address") == 1
    assert greedy[0] is not None
    for _ in range(2):  # once more changes nothing
        hub.unsubscribe(greedy[0])
    assert not hub.full_of(seven)
    nobody = frozenset[str]()
    page = hub.open_page(lambda: None, None, lambda message: message, nobody, nobody, seven)
    assert page is not None and hub.full_of(seven)
    assert all(hub.subscribe(lambda: None, None) for _ in range(75))


def _open_feeds(hub: LiveHub, holder: FeedHolder, count: int) -> list[Subscriber]:
    opened = [hub.subscribe(lambda: None, None, holder=holder) for _ in range(count)]
    return [each for each in opened if each is not None]


def test_a_newcomer_gets_the_feed_of_another() -> None:
    """Four addresses with all feeds keep no other out, and take none back from who has fewer."""
    counters = ServiceCounters()
    hub = LiveHub(counters, streams=48)
    held = [_open_feeds(hub, FeedHolder(f"192.0.2.{each}"), 12) for each in range(4)]
    newcomers = [FeedHolder(f"198.51.100.{each}") for each in range(40)]
    opened = [feed for each in newcomers for feed in _open_feeds(hub, each, 1)]
    assert len(opened) == 40 and not any(each.closed for each in opened)
    assert [sum(not each.closed for each in feeds) for feeds in held] == [2] * 4
    assert all(each.gave_up for feeds in held for each in feeds[:10]), "the oldest"
    assert counters.total("clients_displaced") == 40 and counters.of("clients_now", "") == 48
    for feed in held[0]:
        hub.unsubscribe(feed)
    greedy = _open_feeds(hub, FeedHolder("192.0.2.0"), 12)
    assert len(greedy) == 2 and counters.total("clients_displaced") == 40
    assert hub.full(FeedHolder("192.0.2.1")) and not hub.full(FeedHolder("203.0.113.1"))
    last = _open_feeds(hub, FeedHolder("192.0.2.1"), 1)
    assert last == [], "its streams that gave up and did not end count for it"


def test_a_stream_that_gave_up_is_sent_nothing() -> None:
    """A page too; changed rights and its end change nothing for others."""
    hub, nobody = LiveHub(ServiceCounters(), streams=2), frozenset({"1"})
    woken: list[int] = []
    page = hub.open_page(lambda: woken.append(1), None, lambda message: message, nobody, nobody, THIS_MACHINE)
    assert page is not None and len(_open_feeds(hub, THIS_MACHINE, 1)) == 1
    newcomer = _open_feeds(hub, FeedHolder("192.0.2.9"), 1)
    assert page.gave_up and page.closed and woken and not newcomer[0].closed
    hub.show(page, frozenset({"4"}), frozenset({"4"}))
    hub.accept_incident(_incident(1))
    assert hub.waiting_messages(page) == [] and _events(hub.waiting_messages(newcomer[0])) == [
        ("incident", 1)
    ]
    hub.unsubscribe(page)
    hub.unsubscribe(page)
    assert hub.full(FeedHolder("192.0.2.9"))


def test_accounts_have_feeds_of_their_own() -> None:
    """A quarter, which strangers have only meanwhile; among accounts the same rule holds."""
    hub = LiveHub(ServiceCounters(), streams=48)
    strangers = [feed for k in range(48) for feed in _open_feeds(hub, FeedHolder(f"192.0.2.{k}"), 1)]
    assert len(strangers) == 48 and hub.full(FeedHolder("203.0.113.1"))
    ada, eve, kim = (FeedHolder(name, account=True) for name in ("ada", "eve", "kim"))
    feeds = [_open_feeds(hub, ada, 10), _open_feeds(hub, eve, 5), _open_feeds(hub, kim, 1)]
    assert [len(each) for each in feeds] == [10, 5, 1]
    assert [sum(each.closed for each in held) for held in (strangers, *feeds)] == [12, 4, 0, 0]
    assert hub.full(FeedHolder("203.0.113.1")), "a stranger gets none of these"


def test_late_and_repeated_measurements_change_nothing() -> None:
    counters = ServiceCounters()
    hub = LiveHub(counters)
    for t_ms, sequence in ((2000, 7), (2000, 7), (1000, 6)):
        hub.accept_measurement(replace(_measurement("1", t_ms), sequence=sequence))
    assert len(hub.recent("1")) == 1
    assert counters.total("measurements_late") == 2


def test_a_crossing_with_rms_keeps_other_values() -> None:
    hub = LiveHub(ServiceCounters())
    hub.accept_measurement(_measurement("1", 1000))
    crossing = replace(_measurement("1", 1500, 102.0), crossing=True)
    hub.accept_measurement(replace(crossing, metrics={"rms": crossing.metrics["rms"]}))
    shown = live_messages.newest_json(hub.latest()["1"])
    assert (shown["rms_v"], shown["f_hz"]) == (102.0, 60.0)


def _window(end_ms: int, seconds: float = 1.0) -> Measurement:
    row = _measurement("1", end_ms)
    return replace(row, start_ns=end_ms * 10**6 - round(seconds * 1e9), end_ns=end_ms * 10**6)


def test_an_overtaken_window_keeps_its_place() -> None:
    """A window that a crossing overtook is reported and kept in its place."""
    hub = LiveHub(ServiceCounters())
    page = hub.subscribe(lambda: None, None)
    assert page is not None
    hub.accept_measurement(_window(1000))
    crossing = Measurement("1", 2050, {"rms": Metric(102.0, 102.0, 102.0)}, crossing=True)
    hub.accept_measurement(crossing)
    hub.accept_measurement(replace(_window(2000), metrics={"f": Metric(61.0, 61.0, 61.0)}))
    told = [json.loads(message.data) for message in hub.waiting_messages(page)]
    assert [(each["timestamp_ms"], each["f_hz"]) for each in told] == [(1000, 60), (2050, 60), (2000, 61)]
    assert [each.timestamp_ms for each in hub.recent("1")] == [1000, 2000, 2050]
    shown = live_messages.newest_json(hub.latest()["1"])
    assert (shown["timestamp_ms"], shown["rms_v"], shown["f_hz"]) == (2050, 102.0, 61.0)
    hub.accept_measurement(crossing)
    hub.accept_measurement(_window(2000))
    assert len(hub.recent("1")) == 3 and hub.waiting_messages(page) == []


def test_a_clock_set_back_keeps_its_box() -> None:
    hub = LiveHub(ServiceCounters())
    hub.accept_measurement(_window(10**9))
    hub.accept_measurement(Measurement("1", 2 * 10**9, {"rms": Metric(1, 1, 1)}, crossing=True))
    hub.accept_measurement(_window(10**9 + 1000))
    assert hub.latest()["1"].timestamp_ms == 10**9 + 1000
    hub.accept_measurement(_window(10**8))
    assert [each.timestamp_ms for each in hub.recent("1")] == [10**8]


@pytest.mark.parametrize("numbered", [True, False], ids=["with numbers", "an original Box"])
@pytest.mark.parametrize("step_ms", [1200, 10_600, 299_000, 3_603_000])
def test_after_a_step_back_arrival_counts(step_ms: int, numbered: bool) -> None:
    """The seconds that come again replace those of the old clock; nothing says that the Box is silent."""
    now, counters = [10**9], ServiceCounters()
    hub = LiveHub(counters, lambda: now[0])
    page = hub.subscribe(lambda: None, None)
    assert page is not None
    sent: list[Measurement] = []
    for number in range(40):
        at_ms = 10**9 + 1000 * number - (step_ms if number >= 20 else 0)
        sent.append(replace(_window(at_ms), sequence=number if numbered else None))
    for number, row in enumerate(sent):
        now[0] = 10**9 + 1000 * number
        hub.accept_measurement(row)
        assert hub.latest()["1"] == row
        assert hub.live_boxes(now[0] + 5000) == {"1"}
        (told,) = [json.loads(message.data) for message in hub.waiting_messages(page)]
        assert told["timestamp_ms"] == told["newest_ms"] == row.timestamp_ms
        hub.accept_measurement(sent[number])  # a repeat
    assert hub.waiting_messages(page) == [] and counters.total("measurements_late") == 40
    times = [row.timestamp_ms for row in hub.recent("1")]
    assert times == sorted(times) and times[-20:] == [row.timestamp_ms for row in sent[20:]]
    assert all(each < sent[20].timestamp_ms for each in times[:-20])


def test_a_late_crossing_sets_nothing_back() -> None:
    hub = LiveHub(ServiceCounters())
    for number in range(3):
        hub.accept_measurement(replace(_window(10_000 + 1000 * number), sequence=number))
    crossing = Measurement("1", 11_990, {"rms": Metric(1, 1, 1)}, sequence=3, crossing=True)
    hub.accept_measurement(crossing)
    assert [row.timestamp_ms for row in hub.recent("1")] == [10_000, 11_000, 12_000]


def test_a_gateway_without_numbers_is_heard_again() -> None:
    hub = LiveHub(ServiceCounters())
    hub.accept_measurement(replace(_window(10_000), sequence=900))
    hub.accept_measurement(replace(_window(11_000), sequence=1))
    assert hub.latest()["1"].sequence == 1
    hub.accept_measurement(replace(_window(10_500), sequence=2))
    assert hub.latest()["1"].sequence == 1, "late or repeated"


def test_late_data_are_late_and_not_silent() -> None:
    """A second of an emulator takes ten; after 100 s its data come 90 s after their time."""
    now = [0]
    hub = LiveHub(ServiceCounters(), lambda: now[0])
    page = hub.subscribe(lambda: None, None)
    assert page is not None
    for number in range(1, 11):
        now[0] = 10_000 * number
        hub.accept_measurement(replace(_window(1000 * number), sequence=number, uncertainty_ns=1000))
        late_ms = 9000 * number if number > 1 else 0
        told = json.loads(hub.waiting_messages(page)[-1].data)
        assert told["late_ms"] == late_ms and told["silent_after_ms"] == 11_000 + min(late_ms, 60_000)
        heard = hub.newest("1")
        assert heard is not None and heard.late_ms == late_ms and heard.clock_known
        assert hub.live_boxes(now[0] + 10_900) == {"1"}
    assert state(True, 0, 10_000, 90_000) == "Late by 1\u202fmin"
    assert state(True, 0, 10_000, 40_000) == "Late by 40\u202fs"
    assert state(True, 0, 10_000, 40_000, clock_known=False) == "Late by 40\u202fs, by its clock"
    assert hub.live_boxes(now[0] + 71_000) == set()
    assert state(False, 71_000, 10_000, 90_000) == "Silent for 71\u202fs"


def test_silence_follows_the_boxs_own_rhythm() -> None:
    """A Box is silent when it is later than its own rhythm allows."""
    hub = LiveHub(ServiceCounters(), lambda: 5000)
    hub.accept_measurement(_measurement("1", 1))
    heard = hub.newest("1")
    assert heard is not None and (heard.received_ms, heard.silent_after_ms) == (5000, 10_000)
    hub.accept_measurement(_window(60_000, 60.0))
    for k in range(1, 200):  # a change in idle mode: a second each, for three minutes
        hub.accept_measurement(_window(60_000 + 1000 * k))
    heard = hub.newest("1")
    assert heard is not None and heard.silent_after_ms == 70_000
    for k in range(200, 400):  # no longer in idle mode
        hub.accept_measurement(_window(60_000 + 1000 * k))
    heard = hub.newest("1")
    assert heard is not None and heard.silent_after_ms == 11_000


def test_an_opening_page_learns_a_values_age() -> None:
    """A page that opens is told how old a value is."""
    now = [1000]
    hub = LiveHub(ServiceCounters(), lambda: now[0])
    hub.accept_measurement(_window(900))
    now[0] = 43_000
    page = hub.subscribe(lambda: None, None)
    assert page is not None
    (message,) = hub.waiting_messages(page)
    assert (json.loads(message.data)["age_ms"], json.loads(message.data)["silent_after_ms"]) == (
        42_000,
        11_000,
    )


def test_unknown_and_infinite_numbers_are_null() -> None:
    nan = float("nan")
    shown = live_messages.newest_json(Measurement("1", 1, {"rms": Metric(nan, float("inf"), 120.0)}))
    assert (shown["rms_min_v"], shown["rms_max_v"], shown["rms_v"]) == (None, None, 120.0)
    assert shown["f_hz"] is None
    json.dumps(shown, allow_nan=False)


def test_a_closed_hub_takes_no_page() -> None:
    """A closed hub ends its pages and takes no new one."""
    woken = []
    hub = LiveHub(ServiceCounters())
    page = hub.subscribe(lambda: woken.append(1), None)
    hub.close()
    assert page is not None and page.closed and woken
    assert hub.subscribe(lambda: None, None) is None


def test_a_message_is_one_server_sent_event() -> None:
    assert (
        LiveMessage("incident", '{"id": 1}', "1-00").wire == b'id: 1-00\nevent: incident\ndata: {"id": 1}\n\n'
    )

"""What an open page is sent: of the Boxes that it shows, once a second, the same bytes as its likes."""

import json
from dataclasses import dataclass, field

from opq_cloud.core.service import ServiceCounters
from opq_cloud.view.live.feed_messages import LiveMessage, newest_json
from opq_cloud.view.live.feed_streams import PageStream
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.live.page_feed import BATCHES_KEPT, NEWEST_BOXES, ROWS_OF_A_BOX, BoxIndex
from opq_proto.messages import Incident, Measurement, Metric


def measured(box_id: str, t_ms: int, rms_v: float = 120.0) -> Measurement:
    rms, f = Metric(rms_v - 1, rms_v + 1, rms_v), Metric(59.9, 60.1, 60.0)
    return Measurement(
        box_id, t_ms, {"rms": rms, "f": f, "thd": Metric(0, 0, 0.02), "trans": Metric(0, 1, 0)}
    )


@dataclass
class Clock:
    now_s: float = 100.0


@dataclass
class Hub:
    clock: Clock = field(default_factory=Clock)
    counters: ServiceCounters = field(default_factory=ServiceCounters)

    def __post_init__(self) -> None:
        clock = self.clock
        self.hub = LiveHub(self.counters, lambda: round(clock.now_s * 1000), 8, lambda: clock.now_s)

    def page(self, boxes: str | None, seen: str | None = None, after: str | None = None) -> PageStream:
        page = self.hub.open_page(
            lambda: None,
            after,
            lambda message: message,
            None if boxes is None else frozenset(boxes),
            None if seen is None else frozenset(seen),
        )
        assert page is not None
        return page

    def send(self, *box_ids: str) -> None:
        for box_id in box_ids:
            self.hub.accept_measurement(measured(box_id, round(self.clock.now_s * 1000)))

    def sent(self, page: PageStream, after_s: float = 0.0) -> list[tuple[str, dict[str, object]]]:
        """What is sent to it now, or so much later."""
        self.clock.now_s += after_s
        return events(b"".join(self.hub.page_parts(page)[0]))


def events(text: bytes) -> list[tuple[str, dict[str, object]]]:
    found = []
    for each in filter(None, text.decode().split("\n\n")):
        fields = dict(line.split(": ", 1) for line in each.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return found


def boxes_in(sent: list[tuple[str, dict[str, object]]]) -> list[object]:
    return [facts["box_id"] for name, facts in sent if name == "measurement"]


def test_an_opening_page_gets_its_boxes_newest() -> None:
    all_ = Hub()
    all_.send("1", "2", "3")
    assert sorted(map(str, boxes_in(all_.sent(all_.page("13"))))) == ["1", "3"]
    assert len(boxes_in(all_.sent(all_.page(None)))) == 3
    assert boxes_in(all_.sent(all_.page(""))) == []
    many = Hub()
    many.send(*map(str, range(NEWEST_BOXES + 20)))
    assert len(boxes_in(many.sent(many.page(None)))) == NEWEST_BOXES


def test_changes_of_shown_boxes_come_each_second() -> None:
    """Changes come together once a second and of no other Box."""
    hub = Hub()
    page = hub.page("12")
    hub.sent(page)
    hub.send("1", "3")
    assert boxes_in(hub.sent(page)) == [], "the second is not over"
    hub.clock.now_s += 0.2
    hub.send("1", "2")
    parts, wait_s = hub.hub.page_parts(page)
    assert parts == [] and 0 < wait_s <= 1
    assert boxes_in(hub.sent(page, 1.0)) == ["1", "1", "2"]
    assert boxes_in(hub.sent(page, 1.0)) == []


def test_equal_pages_get_the_same_bytes(
    monkeypatch,
) -> None:  # type: ignore[no-untyped-def]
    """Pages that show the same get the very same bytes and unwanted Boxes cost nothing."""
    made = []
    monkeypatch.setattr(
        "opq_cloud.view.live.feed_messages._finite_text", lambda one, *_: made.append(one.box_id) or "{}"
    )
    hub = Hub()
    pages = [hub.page("12") for _ in range(3)]
    for page in pages:
        hub.sent(page)
    hub.send("1", "2", "3")
    hub.clock.now_s += 1.5
    texts = [hub.hub.page_parts(page)[0][-1] for page in pages]
    assert texts[0] is texts[1] is texts[2]
    assert made == ["1", "2"]


def test_a_late_page_gets_the_newest() -> None:
    """A page that is late loses seconds counted and gets the newest of each Box."""
    hub = Hub()
    slow, quick = hub.page("12"), hub.page("12")
    hub.send("2")
    for page in (slow, quick):
        hub.sent(page)
    for _ in range(BATCHES_KEPT + 2):
        hub.clock.now_s += 1.0
        hub.send("1")
        hub.sent(quick)
    assert hub.counters.of("live_dropped", "measurement") == 0
    late = boxes_in(hub.sent(slow, 1.0))
    assert {"1", "2"} <= set(late), "a Box that sent nothing since stands there too"
    assert hub.counters.of("live_dropped", "measurement") >= 1
    hub.send("1")
    assert boxes_in(hub.sent(slow, 1.0)) == ["1"], "it keeps up again"


def test_a_boxs_second_is_limited_and_counted() -> None:
    hub = Hub()
    page = hub.page("1")
    hub.sent(page)
    for k in range(ROWS_OF_A_BOX + 5):
        hub.hub.accept_measurement(measured("1", 1000 + k))
    sent = hub.sent(page, 1.5)
    assert [facts["timestamp_ms"] for _, facts in sent][-1] == 1000 + ROWS_OF_A_BOX + 4
    assert len(boxes_in(sent)) == ROWS_OF_A_BOX
    assert hub.counters.of("live_dropped", "measurement") == 5


def test_changed_rights_change_the_boxes_sent() -> None:
    """A visitor who may see other Boxes now gets those and no longer the others."""
    hub = Hub()
    page = hub.page("12", seen="12")
    hub.sent(page)
    hub.send("1", "2")
    hub.hub.show(page, frozenset("2"), frozenset("2"))
    assert boxes_in(hub.sent(page, 1.5)) == ["2"], "what was gathered for those who see both is not sent"
    hub.send("1", "2")
    assert boxes_in(hub.sent(page, 1.5)) == ["2"]


def test_incidents_come_at_once_whatever_the_page_shows() -> None:
    hub = Hub()
    page = hub.page("")
    hub.sent(page)
    hub.hub.accept_incident(Incident(1, "sag", ("9",), (1,), 10**18, 10**18 + 10**8, True, 85.0, ()))
    assert [name for name, _ in hub.sent(page)] == ["incident"]
    assert next(name for name, _ in hub.sent(hub.page("", after="0"))) == "incident", "a page that comes back"


def test_reporting_boxes_are_counted_for_the_visitor() -> None:
    """The number of reporting Boxes counts the visitor's own."""
    hub = Hub()
    hub.send("1", "2", "3")
    page, other = hub.page("1", seen="12"), hub.page("", seen="")
    assert ("reporting", {"reporting": 2}) in hub.sent(page)
    assert hub.sent(other) == [("reporting", {"reporting": 0, "newest_ms": None})]
    assert ("reporting", {"reporting": 0, "newest_ms": 100_000}) in hub.sent(page, 60.0)


def test_an_audience_ends_with_its_last_page() -> None:
    hub = Hub()
    pages = [hub.page("12"), hub.page("12"), hub.page(None)]
    for page in pages:
        hub.hub.unsubscribe(page)
        hub.hub.unsubscribe(page)
    assert hub.hub._audiences == {} and hub.counters.of("clients_now", "") == 0
    assert list(hub.hub._shown.of("1")) == []


def test_the_index_finds_those_who_want_a_box() -> None:
    index: BoxIndex[str] = BoxIndex()
    index.add("all", None)
    index.add("some", frozenset("12"))
    assert set(index.of("1")) == {"all", "some"} and set(index.of("3")) == {"all"}
    index.discard("some", frozenset("12"))
    index.discard("all", None)
    assert list(index.of("1")) == []


def test_both_forms_of_a_measurement_agree() -> None:
    """Both ways of writing a measurement say the same."""
    from opq_cloud.view.live.feed_messages import _finite_text

    one = measured("1", 1234, 119.12345)
    state = {"age_ms": 7, "silent_after_ms": 10_000, "late_ms": 40_000, "newest_ms": 1300}
    assert json.loads(_finite_text(one, *state.values())) == {**newest_json(one), **state}
    nan = Measurement("1", 1, {**one.metrics, "f": Metric(0, 0, float("nan"))})
    assert _finite_text(nan, 0, 0, 0, 0) == "" == _finite_text(Measurement("1", 1, {}), 0, 0, 0, 0)
    assert LiveMessage("measurement", "{}").wire == b"event: measurement\ndata: {}\n\n"

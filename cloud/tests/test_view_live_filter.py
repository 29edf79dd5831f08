"""`/live?box=&region=&rate=`: what is wanted of what may be seen."""

import pytest

from opq_cloud.view.live.feed_messages import LiveMessage
from opq_cloud.view.live.filter import LiveFilter, read_live_filter
from opq_proto.messages import Incident


def measured(box_id: str) -> LiveMessage:
    return LiveMessage("measurement", "{}", box_id=box_id)


def at(*box_ids: str) -> LiveMessage:
    return LiveMessage("incident", "{}", incident=Incident(1, "sag", box_ids, (), 0, 1, True, None, ()))


def regions(region: str) -> list[str]:
    return {"north": ["1", "2"]}.get(region, [])


def test_without_a_wish_everything_passes() -> None:
    wanted = read_live_filter({}, regions)
    assert all(wanted.passes(each) for each in (measured("1"), measured("1"), at("9")))


def test_boxes_and_a_region_are_both_asked_of() -> None:
    wanted = read_live_filter({"box": "1, 4", "region": "north"}, regions)
    assert wanted.boxes == {"1"}
    assert wanted.passes(measured("1")) and not wanted.passes(measured("4"))
    assert wanted.passes(at("1", "7")) and not wanted.passes(at("4"))
    assert wanted.passes(LiveMessage("incident_gone", "{}")), "what is gone is taken away by who showed it"


def test_a_rate_limits_boxes_but_not_incidents() -> None:
    now_s = 0.0
    wanted = LiveFilter(between_s=1.0, monotonic_s=lambda: now_s)
    assert [wanted.passes(measured("1")) for _ in range(3)] == [True, False, False]
    assert wanted.passes(measured("2")) and wanted.passes(at("1")) and wanted.passes(at("1"))
    now_s = 1.0
    assert wanted.passes(measured("1"))


def test_hidden_boxes_cost_and_send_nothing() -> None:
    wanted = LiveFilter(between_s=1.0)
    assert wanted.after(lambda message: None)(measured("1")) is None
    assert wanted.after(lambda message: message)(measured("1")) is not None, "the hidden one did not count"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"box": ","}, "names 0 Boxes"),
        ({"region": ""}, "region has 0"),
        ({"region": "nowhere"}, "no region 'nowhere' that you may see"),
        ({"rate": "x"}, "rate is 'x'; want 0.01 to 100"),
        ({"rate": "nan"}, "rate is 'nan'"),
        ({"rate": "0"}, "rate is '0'"),
    ],
)
def test_what_is_not_allowed_is_said(query: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_live_filter(query, regions)

"""Dips over a group of channels: begins with the first, ends with the last, an interruption takes all."""

import pytest

from opq_measure.events.polyphase import ChannelEvent, GroupEvent, group_events

CHANNELS = ("L1", "L2", "L3")


def event(channel: str, kind: str, start_ns: int, end_ns: int | None, percent: float) -> ChannelEvent:
    return ChannelEvent(channel, kind, start_ns, end_ns, percent)


def test_a_dip_spans_first_to_last_channel() -> None:
    found = group_events(
        [
            event("L2", "sag", 20, 50, 40.0),
            event("L1", "sag", 10, 30, 70.0),
            event("L3", "sag", 45, 60, 80.0),
        ],
        CHANNELS,
    )
    assert found == (GroupEvent("sag", 10, 60, 40.0, "L2", ("L1", "L2", "L3")),)


def test_touching_dips_are_one() -> None:
    """Dips with a time without one between them are two."""
    apart = group_events([event("L1", "sag", 10, 20, 70.0), event("L2", "sag", 21, 30, 60.0)], CHANNELS)
    assert [(each.start_ns, each.end_ns, each.channel) for each in apart] == [(10, 20, "L1"), (21, 30, "L2")]
    joined = group_events([event("L1", "sag", 10, 21, 70.0), event("L2", "sag", 21, 30, 60.0)], CHANNELS)
    assert len(joined) == 1


def numbered(channel: str, start_ns: int, end_ns: int, number: int) -> ChannelEvent:
    return ChannelEvent(channel, "sag", start_ns, end_ns, 70.0, number)


def test_stated_numbers_decide_the_group() -> None:
    found = group_events(
        [
            numbered("L1", 10, 20, 5),
            numbered("L2", 12, 22, 6),  # overlaps, and is another event
            numbered("L3", 30, 40, 5),  # does not overlap, and is the same one
            numbered("L2", 39, 50, 0),
            numbered("L1", 60, 70, 0),
            numbered("L2", 65, 75, 7),
        ],
        CHANNELS,
    )
    assert [(each.start_ns, each.end_ns, each.channels) for each in found] == [
        (10, 50, ("L1", "L3", "L2")),
        (12, 22, ("L2",)),
        (60, 75, ("L1", "L2")),
    ]


def test_an_interruption_takes_all_channels_at_one_time() -> None:
    all_out = [event(channel, "interruption", 10 + k, 50 - k, 1.0 + k) for k, channel in enumerate(CHANNELS)]
    (found,) = group_events(all_out, CHANNELS)
    assert found.kind == "interruption" and (found.start_ns, found.end_ns) == (10, 50)
    (two,) = group_events(all_out[:2], CHANNELS)
    assert two.kind == "sag" and two.residual_percent == 1.0
    in_turn = [event(channel, "interruption", 10 * k, 10 * k + 10, 1.0) for k, channel in enumerate(CHANNELS)]
    (turned,) = group_events(in_turn, CHANNELS)
    assert turned.kind == "sag"


def test_swells_are_apart_from_dips() -> None:
    """An open event leaves the group open."""
    found = group_events(
        [
            event("L1", "sag", 10, None, 50.0),
            event("L2", "swell", 12, 30, 115.0),
            event("L3", "sag", 15, 20, 60.0),
        ],
        CHANNELS,
    )
    assert [(each.kind, each.start_ns, each.end_ns, each.residual_percent) for each in found] == [
        ("sag", 10, None, 50.0),
        ("swell", 12, 30, 115.0),
    ]


def test_an_open_event_ends_with_the_next() -> None:
    """The next event of the same channel shows that it is over, though its end is unknown."""
    found = group_events([event("L1", "sag", 10, None, 70.0), event("L1", "sag", 900, 950, 60.0)], CHANNELS)
    assert [(each.start_ns, each.end_ns) for each in found] == [(10, None), (900, 950)]


def test_other_groups_channels_are_left_out() -> None:
    assert group_events([event("L9", "sag", 10, 20, 50.0)], CHANNELS) == ()
    assert group_events([], CHANNELS) == ()
    with pytest.raises(ValueError, match="channels"):
        group_events([], ())
    with pytest.raises(ValueError, match="ends before"):
        group_events([event("L1", "sag", 10, 9, 50.0)], CHANNELS)

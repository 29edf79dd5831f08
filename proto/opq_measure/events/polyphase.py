"""A dip, swell or interruption of a group of channels: three Boxes on the phases of one supply.

A dip of the group begins when any channel is below its threshold and ends when all are back; an interruption
begins when all are below theirs and ends when any is back. Times are UTC and include clock errors of Boxes.

Source: IEC 61000-4-30:2015, 5.4.3.1 and 5.4.3.2 (polyphase dips and swells), 5.5.2 (interruptions).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

DIPS = ("sag", "interruption", "undervoltage")
SWELLS = ("swell", "overvoltage")
Measured = Callable[[str, int], bool]
"""Whether a channel is measured at a time in ns."""


def always_measured(channel: str, t_ns: int) -> bool:
    """Every channel, at any time."""
    return True


@dataclass(frozen=True, slots=True)
class ChannelEvent:
    """An event of one channel, half open; `end_ns` is None while it lasts. `kind` is as in Disturbance.

    `number`: of the group's event, where whoever measured the channels states it; 0: not stated.
    """

    channel: str
    kind: str
    start_ns: int
    end_ns: int | None
    residual_percent: float
    number: int = 0


@dataclass(frozen=True, slots=True)
class GroupEvent:
    """One event of the group. `channel` had `residual_percent`, the lowest of a dip or highest of a swell."""

    kind: str
    start_ns: int
    end_ns: int | None
    residual_percent: float
    channel: str
    channels: tuple[str, ...]


def group_events(
    events: Iterable[ChannelEvent], channels: Sequence[str], measured: Measured = always_measured
) -> tuple[GroupEvent, ...]:
    """The events of a group, in time order.

    Args:
        events: of its channels, in any order; those of other channels are left out.
        channels: all of the group; an interruption has to affect all that are measured at one time.
        measured: whether a channel is measured at a time (ns); one with an event then is.
    Returns:
        Dips and swells separately. Events with one number are one; an event without a number belongs to the
        one that it overlaps. A dip is called an interruption when each channel has an interruption and
        they have a time in common; it then lasts from the first beginning of a dip to the last end, because
        the depth within a channel's event is not reported.
    Raises:
        ValueError: no channel, or an event ends before it begins.
    """
    found = [joined for joined, _ in groups_of(events, channels, measured)]
    return tuple(sorted(found, key=lambda each: each.start_ns))


def groups_of(
    events: Iterable[ChannelEvent], channels: Sequence[str], measured: Measured = always_measured
) -> list[tuple[GroupEvent, list[ChannelEvent]]]:
    """The same with the events of each; dips first."""
    if not channels:
        raise ValueError("channels is empty, want at least one")
    chosen = sorted((each for each in events if each.channel in channels), key=lambda each: each.start_ns)
    for each in chosen:
        if each.end_ns is not None and each.end_ns < each.start_ns:
            raise ValueError(f"an event of channel {each.channel} ends before it begins")
    return [
        (_joined(members, channels, measured), members)
        for kinds in (DIPS, SWELLS)
        for members in _overlapping([each for each in chosen if each.kind in kinds])
    ]


def _overlapping(events: Sequence[ChannelEvent]) -> list[list[ChannelEvent]]:
    """Groups of events with one number, or that overlap or touch in time; `events` are sorted by start."""
    found: list[list[ChannelEvent]] = []
    by_number: dict[int, list[ChannelEvent]] = {}
    lasting: list[list[ChannelEvent]] = []
    last_ns: float = -math.inf
    for each in events:
        if each.start_ns > last_ns:
            lasting = []
        else:
            lasting = [group for group in lasting if any(_lasts_to(other, each) for other in group)]
        last_ns = max(last_ns, math.inf if each.end_ns is None else each.end_ns)
        group = by_number.get(each.number) if each.number else None
        if group is None:
            joins = (group for group in lasting if not each.number or not any(one.number for one in group))
            group = next(joins, None)
        if group is None:
            group = []
            found.append(group)
        group.append(each)
        if all(group is not one for one in lasting):
            lasting.append(group)
        if each.number:
            by_number[each.number] = group
    return found


def _lasts_to(event: ChannelEvent, later: ChannelEvent) -> bool:
    """Whether an event overlaps or touches a later one; one of its own channel shows that it is over."""
    if event.end_ns is None:
        return event.channel != later.channel
    return event.end_ns >= later.start_ns


def _joined(events: Sequence[ChannelEvent], channels: Sequence[str], measured: Measured) -> GroupEvent:
    if len(events) == len(channels) == 1:
        one = events[0]
        own = (one.channel,)
        return GroupEvent(one.kind, one.start_ns, one.end_ns, one.residual_percent, one.channel, own)
    dip = events[0].kind in DIPS
    worst = (min if dip else max)(events, key=lambda each: each.residual_percent)
    ends = [each.end_ns for each in events if each.end_ns is not None]
    return GroupEvent(
        kind=_kind(events, channels, measured, worst),
        start_ns=events[0].start_ns,
        end_ns=max(ends) if len(ends) == len(events) else None,
        residual_percent=worst.residual_percent,
        channel=worst.channel,
        channels=tuple(dict.fromkeys(each.channel for each in events)),
    )


def _kind(
    events: Sequence[ChannelEvent], channels: Sequence[str], measured: Measured, worst: ChannelEvent
) -> str:
    """The kind of the worst channel, but an interruption only when all channels that are measured have one at
    one time."""
    if worst.kind != "interruption":
        return worst.kind
    interrupted = [each for each in events if each.kind == "interruption"]
    together = any(
        {other.channel for other in interrupted if _holds(other, each.start_ns)}
        >= {channel for channel in channels if measured(channel, each.start_ns)}
        for each in interrupted
    )
    if together:
        return "interruption"
    return "undervoltage" if any(each.kind == "undervoltage" for each in events) else "sag"


def _holds(event: ChannelEvent, time_ns: int) -> bool:
    return event.start_ns <= time_ns and (event.end_ns is None or time_ns < event.end_ns)

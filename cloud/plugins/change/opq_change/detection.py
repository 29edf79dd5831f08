"""What changed in the hourly values of a Box: steps, drift, profile, single hours. Pure.

A change that its neighbours on the same phase do not share is the Box's own (gain, offset); the others are
the supply's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from opq_change.points import (
    Line,
    Step,
    changed_days,
    line_with_steps,
    lines_of,
    normal_isf,
    steps_of,
)
from opq_change.profile import LEAST_H, Profile, filled, profile_of, usual_season
from opq_change.series import DAY_H, HOUR_NS, WEEK_H, HourSeries, Values, spread

Kind = Literal["level_step", "own_step", "drift", "own_drift", "profile_change", "anomaly"]
COMPARED_H = 3 * DAY_H
"""Hours before and after a change whose means are compared between Boxes: whole days have no profile."""
SAME_CHANGE_H = 36
"""Changes of one Box within this time are one."""
SHORTEST_DRIFT_H = 4 * DAY_H
"""A line that rises in less time is weather, or part of a step."""
LEAST_TOGETHER = 0.7
"""Share of the hours in which all Boxes that are compared are known."""
SHORTEST_PROFILE_D = 4
"""Days of the shortest profile."""
PROFILE_HARMONICS = 3
"""Of the day, that describe a day's profile."""
PROFILE_CAUTION = 1.5
MOST_ANOMALIES = 20
SUPPLY_FACTOR = 3
"""A supply's drift counts from so many times the least step and of the usual error on: weather moves its
voltage for days."""


@dataclass(frozen=True, slots=True)
class ChangeLimits:
    """What counts, in the unit of the values.

    Attributes:
        false_alarms: expected per Box, span and kind of change, in noise without a change.
        least: the smallest step, and the smallest change of a profile, that is of concern.
        least_own: the smallest step against neighbours; a drift counts from twice as much on.
    """

    false_alarms: float = 0.2
    least: float = 0.4
    least_own: float = 0.2


LIMITS = ChangeLimits()


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one quantity."""

    kind: Kind
    box_ids: tuple[str, ...]
    """Two where it is open whose change it is."""
    start_ns: int
    end_ns: int
    """A step came before `end_ns`, in the hour from `start_ns` on."""
    size: float
    """In the unit of the values; a profile's: the rms of how the hours of the day moved."""
    deviations: float
    """The same in deviations of the noise."""


@dataclass(frozen=True, slots=True)
class BoxChanges:
    """What was found at one Box."""

    profile: Profile
    changes: tuple[Change, ...]


def changes_of(
    box: HourSeries, own: Sequence[Change] = (), limits: ChangeLimits = LIMITS
) -> BoxChanges | None:
    """Returns what changed at a Box; None where not more than two weeks are known.

    Args:
        own: what `own_changes` found of this Box and its neighbours.
    """
    if int(box.known.sum()) < LEAST_H:
        return None
    own = [each for each in own if box.box_id in each.box_ids]
    whole, seasons = filled(box.values), usual_season(box.values, WEEK_H)
    for _ in range(2):  # first without the steps in the way of the profile
        steps = steps_of(box.values - seasons, limits.false_alarms, limits.least)
        level = _stairs(steps, len(whole))
        profile = profile_of(whole - level)
        seasons = profile.seasons
    flat = box.values - seasons
    found = [_step("level_step", box, each) for each in steps]
    line = line_with_steps(flat, steps)
    if _is_drift(replace(line, error=SUPPLY_FACTOR * line.error), 1, limits, SUPPLY_FACTOR * limits.least):
        found.append(_drift("drift", box, line))
    changes = [
        *own,
        *(each for each in found if not any(_is_same(each, other) for other in own)),
        *_profile_changes(box, whole - level - profile.weekly - profile.trend, limits),
        *_anomalies(box, box.values - level - profile.trend - profile.seasons, limits),
    ]
    return BoxChanges(
        replace(profile, trend=profile.trend + level),
        tuple(sorted(changes, key=lambda each: (each.start_ns, each.kind))),
    )


def own_changes(boxes: Sequence[HourSeries], limits: ChangeLimits = LIMITS) -> list[Change]:
    """Returns what the Boxes of one phase do not share: steps and drift against the mean of the others.

    The Box that departs most is the one that changed; of two Boxes it is open which.
    """
    boxes = _heard_together(boxes)
    if len(boxes) < 2:
        return []
    every = np.stack([each.values for each in boxes])
    apart = [row - np.delete(every, at, axis=0).mean(axis=0) for at, row in enumerate(every)]
    flat = [each.copy() for each in apart]
    found = []
    looked_at = boxes[:1] if len(boxes) == 2 else boxes
    for at, box in enumerate(looked_at):
        for step in steps_of(apart[at], limits.false_alarms, limits.least_own):
            if _departs_most(apart, at, step.hour, step.hour):
                found.append(_step("own_step", box, step))
                for other, values in enumerate(flat):  # a Box that steps moves the others' differences too
                    values[step.hour :] -= step.size if other == at else -step.size / (len(boxes) - 1)
    for at, box in enumerate(looked_at):
        lines = lines_of(flat[at], limits.false_alarms)
        for line in lines:
            if _is_drift(line, len(lines), limits, 2 * limits.least_own) and _departs_most(
                flat, at, line.first + COMPARED_H, line.last - COMPARED_H
            ):
                found.append(_drift("own_drift", box, line))
    if len(boxes) == 2:
        both = boxes[0].box_id, boxes[1].box_id
        found = [replace(each, box_ids=both) for each in found]
    return found


def _heard_together(boxes: Sequence[HourSeries]) -> list[HourSeries]:
    """Leaves out those that are known least, until all of the others are known most of the time."""
    kept = list(boxes)
    while len(kept) > 1 and np.mean(np.all([each.known for each in kept], axis=0)) < LEAST_TOGETHER:
        kept.remove(min(kept, key=lambda each: int(each.known.sum())))
    return kept


def _departs_most(apart: Sequence[Values], at: int, first: int, last: int) -> bool:
    """Whether a Box moved most from the days before `first` to those after `last`."""
    moved = [
        abs(_mean(each[max(0, first - COMPARED_H) : first]) - _mean(each[last : last + COMPARED_H]))
        for each in apart
    ]
    return moved[at] >= max(moved)


def _mean(values: Values) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def _stairs(steps: Sequence[Step], hours: int) -> Values:
    level = np.zeros(hours)
    for step in steps:
        level[step.hour :] += step.size
    return level


def _step(kind: Kind, box: HourSeries, step: Step) -> Change:
    at = box.at_ns(step.hour)
    return Change(kind, (box.box_id,), at - HOUR_NS, at, step.size, step.deviations)


def _drift(kind: Kind, box: HourSeries, line: Line) -> Change:
    span = box.at_ns(line.first), box.at_ns(line.last)
    return Change(kind, (box.box_id,), *span, line.rise, abs(line.rise) / line.error)


def _is_drift(line: Line, lines: int, limits: ChangeLimits, least: float) -> bool:
    many = normal_isf(limits.false_alarms / (2 * lines))
    return line.last - line.first >= SHORTEST_DRIFT_H and abs(line.rise) >= max(least, many * line.error)


def _is_same(change: Change, own: Change) -> bool:
    if change.kind.removeprefix("level_") != own.kind.removeprefix("own_"):
        return False
    near = SAME_CHANGE_H * HOUR_NS
    touches = change.start_ns < own.end_ns + near and own.start_ns < change.end_ns + near
    return touches and change.size * own.size > 0


def _profile_changes(box: HourSeries, values: Values, limits: ChangeLimits) -> list[Change]:
    """Days whose profile differs from that of the days before, by the first overtones of the day."""
    first = -(box.start_ns // HOUR_NS) % DAY_H
    days = (len(values) - first) // DAY_H
    inside = slice(first, first + days * DAY_H)
    known = box.known[inside].reshape(days, DAY_H).sum(axis=1) >= DAY_H * 3 // 4
    numbers = np.flatnonzero(known)
    if len(numbers) < 2 * SHORTEST_PROFILE_D:
        return []
    turns = 2 * np.pi * np.outer(np.arange(1, PROFILE_HARMONICS + 1), np.arange(DAY_H)) / DAY_H
    waves = np.concatenate((np.cos(turns), np.sin(turns)))
    parts = values[inside].reshape(days, DAY_H)[numbers] @ waves.T * (2 / DAY_H)
    weekday = ((box.start_ns // HOUR_NS + first) // DAY_H + numbers + 3) % 7  # 1970-01-01 was a Thursday
    for weekend in (False, True):
        same = (weekday >= 5) == weekend
        if same.any():
            parts[same] -= np.median(parts[same], axis=0)
    found = []
    for at, moved, deviations in changed_days(
        parts, limits.false_alarms, SHORTEST_PROFILE_D, PROFILE_CAUTION
    ):
        size = float(np.sqrt((moved**2).sum() / 2))
        if size >= limits.least / 2:
            start_ns = box.at_ns(first + int(numbers[at]) * DAY_H)
            end_ns = start_ns + DAY_H * HOUR_NS
            found.append(Change("profile_change", (box.box_id,), start_ns, end_ns, size, deviations))
    return found


def _anomalies(box: HourSeries, rest: Values, limits: ChangeLimits) -> list[Change]:
    """Hours further from profile and trend than noise is once in so many spans; the furthest ones first."""
    width = max(spread(rest[box.known]), 1e-9)
    far = max(normal_isf(limits.false_alarms / (2 * len(rest))) * width, limits.least)
    beyond = np.flatnonzero(box.known & (np.abs(np.nan_to_num(rest)) > far))
    runs = np.split(beyond, np.flatnonzero(np.diff(beyond) > 1) + 1) if len(beyond) else []
    found = []
    for run in runs:
        peak = float(max(rest[run].tolist(), key=abs))
        span = box.at_ns(int(run[0])), box.at_ns(int(run[-1]) + 1)
        found.append(Change("anomaly", (box.box_id,), *span, peak, abs(peak) / width))
    return sorted(found, key=lambda each: -each.deviations)[:MOST_ANOMALIES]

"""What was found, as phenomena of the original's form. Pure."""

import numpy as np

from opq_cloud.mauka.change.detection import BoxChanges, Change
from opq_cloud.mauka.change.likeness import Likeness
from opq_cloud.mauka.change.series import DAY_H, HourSeries
from opq_cloud.store.records.phenomena import LASTING, Phenomenon
from opq_cloud.store.records.phenomenon_words import ANALYSIS, QUANTITIES

LEAST_STRENGTH = 0.3
"""A profile that explains less of what moves is not one."""
LEAST_DAYS = 7


def phenomenon_of(change: Change, quantity: str) -> Phenomenon:
    """A change as a phenomenon, without related events."""
    details = {
        "analysis": ANALYSIS,
        "quantity": quantity,
        "size": round(change.size, 4),
        "unit": QUANTITIES[quantity][1],
        "deviations": round(change.deviations, 2),
    }
    return Phenomenon(
        change.kind, change.box_ids, change.start_ns // 1_000_000, change.end_ns // 1_000_000, details
    )


def profile_phenomenon(box: HourSeries, found: BoxChanges, quantity: str) -> Phenomenon | None:
    """The daily profile in the form of the original's periodic phenomenon.

    A peak of that form is the lowest hour of a day: its time, and how far it is below the mean. Returns None
    for less than LEAST_DAYS whole days, or if the profile explains less than LEAST_STRENGTH of the values.
    """
    first = -(box.start_ns // (3600 * 10**9)) % DAY_H
    profile = found.profile
    days = (len(profile.daily) - first) // DAY_H
    if days < LEAST_DAYS or profile.strength < LEAST_STRENGTH:
        return None
    inside = slice(first, first + days * DAY_H)
    daily = (profile.daily + profile.weekly + profile.rest)[inside].reshape(days, DAY_H)
    lowest = daily.argmin(axis=1)
    at_s = [box.at_ns(first + day * DAY_H + int(hour)) // 10**9 for day, hour in enumerate(lowest)]
    turns = np.exp(2j * np.pi * lowest / DAY_H)
    together = max(abs(complex(turns.mean())), 1e-6)
    details = {
        "analysis": ANALYSIS,
        "quantity": quantity,
        "unit": QUANTITIES[quantity][1],
        "period_s": 86_400.0,
        "std_s": round(float(np.sqrt(-2 * np.log(together))) * 86_400 / (2 * np.pi), 1),
        "peaks": days,
        "period_timestamps": at_s,
        "deviation_from_mean_values": [
            round(float(row[hour]), 4) for row, hour in zip(daily, lowest, strict=True)
        ],
        "strength": round(profile.strength, 3),
        "daily": [round(float(each), 4) for each in profile.daily[inside].reshape(days, DAY_H)[-1]],
        "weekly": [round(float(each), 4) for each in profile.weekly[-7 * DAY_H :]],
    }
    end_ms = box.at_ns(len(box.values)) // 1_000_000
    return Phenomenon(LASTING, (box.box_id,), box.start_ns // 1_000_000, end_ms, details)


def likeness_phenomenon(found: Likeness, start_ms: int, end_ms: int) -> Phenomenon:
    """Two Boxes that probably are on one phase."""
    details = {
        "analysis": ANALYSIS,
        "quantity": "rms_v",
        "correlation": round(found.correlation, 3),
        "likelihoods": {name: round(each, 3) for name, each in found.likelihoods.items()},
    }
    return Phenomenon("similarity", found.box_ids, start_ms, end_ms, details)

"""What was found, as phenomena in sentences and figures. Pure."""

import numpy as np

from opq_change.detection import BoxChanges, Change
from opq_change.likeness import Likeness
from opq_change.series import DAY_H, HourSeries
from opq_proto.messages import Phenomenon

QUANTITIES = {"rms_v": ("voltage", "% of nominal"), "dc": ("direct voltage", "V")}
"""Quantity -> its name and unit in words."""
SENTENCES = {
    "level_step": "{name} of the supply of {boxes} moved by {size:+.2f} {unit} at {{start}}",
    "own_step": "{name} of {boxes} moved by {size:+.2f} {unit} at {{start}}, its neighbours' did not",
    "drift": "{name} of the supply of {boxes} drifted by {size:+.2f} {unit} from {{start}} to {{end}}",
    "own_drift": (
        "{name} of {boxes} drifted by {size:+.2f} {unit} off its neighbours from {{start}} to {{end}}"
    ),
    "profile_change": "the daily profile of {name} of {boxes} changed by {size:.2f} {unit} on {{start}}",
    "anomaly": "{name} of {boxes} was {size:+.2f} {unit} off its profile from {{start}} to {{end}}",
}
"""Kind -> its sentence; the times are filled in where it is read."""
LEAST_STRENGTH = 0.3
"""A profile that explains less of what moves is not one."""
LEAST_DAYS = 7


def phenomenon_of(change: Change, quantity: str, box_id: str) -> Phenomenon:
    """A change as a phenomenon of a Box; what may be another Box's, too, is found again for that one."""
    name, unit = QUANTITIES[quantity]
    box_ids = (box_id, *(each for each in change.box_ids if each != box_id))
    boxes = " or ".join(f"Box {each}" for each in box_ids)
    because = SENTENCES[change.kind].format(name=name, unit=unit, boxes=boxes, size=change.size)
    return Phenomenon(
        change.kind,
        box_ids,
        change.start_ns,
        change.end_ns,
        because,
        quantity,
        round(change.size, 4),
        unit,
        details={"deviations": round(change.deviations, 2)},
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
    name, unit = QUANTITIES[quantity]
    details = {
        "unit": unit,
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
    because = (
        f"{name} of Box {box.box_id} follows the day and the week: "
        f"they explain {100 * profile.strength:.0f} % of how it moves"
    )
    span = box.start_ns, box.at_ns(len(box.values))
    return Phenomenon("periodic", (box.box_id,), *span, because, quantity, lasting=True, details=details)


def likeness_phenomenon(found: Likeness, start_ns: int, end_ns: int) -> Phenomenon:
    """Two Boxes that probably are on one phase."""
    details = {
        "correlation": round(found.correlation, 3),
        "likelihoods": {name: round(each, 3) for name, each in found.likelihoods.items()},
    }
    because = (
        f"Boxes {' and '.join(found.box_ids)} move alike (correlation {found.correlation:.2f}): "
        f"{100 * found.likelihoods['same_phase']:.0f} % likely on one phase"
    )
    return Phenomenon(
        "similarity", found.box_ids, start_ns, end_ns, because, "rms_v", lasting=True, details=details
    )

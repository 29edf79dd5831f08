"""Phenomena in sentences, and as JSON for commands, REST, exports and the bus. Pure."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from opq_cloud.store.records.phenomena import LASTING, Phenomenon

ANALYSIS = "change"
"""The analysis of Mauka that finds them; `analysis` of their details."""
QUANTITIES = {"rms_v": ("voltage", "% of nominal"), "dc": ("direct voltage", "V")}
"""Quantity -> its name and unit in words."""
_KINDS = {
    "level_step": "{name} of the supply of {boxes} moved by {size:+.2f} {unit} at {start}",
    "own_step": "{name} of {boxes} moved by {size:+.2f} {unit} at {start}, its neighbours' did not",
    "drift": "{name} of the supply of {boxes} drifted by {size:+.2f} {unit} from {start} to {end}",
    "own_drift": "{name} of {boxes} drifted by {size:+.2f} {unit} off its neighbours from {start} to {end}",
    "profile_change": "the daily profile of {name} of {boxes} changed by {size:.2f} {unit} on {start}",
    "anomaly": "{name} of {boxes} was {size:+.2f} {unit} off its profile from {start} to {end}",
}


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def words_of(found: Phenomenon, time_of: Callable[[int], str] = _clock, text: type[str] = str) -> str:
    """A phenomenon in a sentence; times are UTC.

    Args:
        text: the class of the sentence, such as Markup, whose `format` escapes what it is given.
    """
    details = found.details
    boxes = f"Box {found.box_ids[0]}" if len(found.box_ids) == 1 else f"Boxes {' and '.join(found.box_ids)}"
    name, unit = QUANTITIES.get(str(details.get("quantity")), (str(details.get("quantity")), ""))
    values: dict[str, Any] = {
        "name": name,
        "unit": unit,
        "size": details.get("size", 0.0),
        "kind": found.kind,
    }
    values |= {"start": time_of(found.start_ms), "end": time_of(found.end_ms)}
    if details.get("analysis") != ANALYSIS:
        form = "{kind} of {boxes} from {start} to {end}"
    elif found.kind == "similarity":
        values |= {"alike": details["correlation"], "percent": 100 * details["likelihoods"]["same_phase"]}
        form = "{boxes} move alike (correlation {alike:.2f}): {percent:.0f} % likely on one phase"
    elif found.kind == LASTING:
        values["percent"] = 100 * details["strength"]
        form = "{name} of {boxes} follows the day and the week: they explain {percent:.0f} % of how it moves"
    else:
        form = _KINDS.get(found.kind, "{kind} of {boxes} from {start} to {end}")
        boxes = boxes if len(found.box_ids) != 2 else f"Box {found.box_ids[0]} or Box {found.box_ids[1]}"
    return text(form).format(boxes=boxes, **values)


def ordered(found: Sequence[Phenomenon]) -> list[Phenomenon]:
    """The lasting ones last, the others by time."""
    return sorted(found, key=lambda each: (each.kind in (LASTING, "similarity"), each.start_ms))


def phenomenon_json(found: Phenomenon) -> dict[str, object]:
    return {
        "id": found.phenomenon_id,
        "kind": found.kind,
        "box_ids": list(found.box_ids),
        "start_ms": found.start_ms,
        "end_ms": found.end_ms,
        "quantity": found.details.get("quantity"),
        "size": found.details.get("size"),
        "unit": found.details.get("unit"),
        "summary": words_of(found),
        "event_ids": list(found.event_ids),
        "finding_ids": list(found.incident_ids),
        "details": dict(found.details),
    }

"""Phenomena in sentences, and as JSON for commands, REST, exports and the bus. Pure."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon

_TIME = re.compile(r"\{(start|end)\}")


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def words_of(found: StoredPhenomenon, time_of: Callable[[int], str] = _clock, text: type[str] = str) -> str:
    """A phenomenon in a sentence, that of its analysis where it has one; times are UTC.

    Args:
        text: the class of the sentence, such as Markup, whose `join` escapes what it is given.
    """
    sentence = found.details.get("because")
    if not isinstance(sentence, str):
        boxes = f"Box{'' if len(found.box_ids) == 1 else 'es'} {' and '.join(found.box_ids)}"
        sentence = f"{found.kind} of {boxes} from {{start}} to {{end}}"
    times = {"start": found.start_ms, "end": found.end_ms}
    parts = _TIME.split(sentence)  # words and names of times in turn
    return text("").join(time_of(times[each]) if at % 2 else each for at, each in enumerate(parts))


def ordered(found: Sequence[StoredPhenomenon]) -> list[StoredPhenomenon]:
    """The lasting ones last, the others by time."""
    return sorted(found, key=lambda each: (each.lasting, each.start_ms))


def phenomenon_json(found: StoredPhenomenon) -> dict[str, object]:
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

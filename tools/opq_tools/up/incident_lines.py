"""Lines about incidents: each is printed when what it says has settled, and each later change as well.

An incident reaches the page with its first finding, and grows while further Boxes answer; two may become one.
Separate from `run.py`, because it keeps what was printed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opq_cloud.view.web.words import THIN, class_phrase
from opq_tools.up.stages import Newest

SETTLED_S = 5.0
"""An incident whose words have not changed for this long is printed, once no event is being analysed."""
AT_MOST_S = 30.0
"""An event that is still not analysed after this holds no incident back."""
OPENED = ("trigger.decided", "trigger.completes", "trigger.joined", "event.grows")
ANALYSED = "event.analysed"
"""Log lines of the cloud between which further Boxes may be added to an incident."""
BOXES_NAMED = 3


@dataclass(slots=True)
class _Incident:
    words: str
    changed_s: float
    printed: str = ""


class IncidentLines:
    """Belongs to the main loop; times are monotonic seconds."""

    def __init__(self, view_url: str, began_ms: float, earlier: Iterable[Mapping[str, Any]] = ()) -> None:
        """`began_ms`: when this run began, in milliseconds since 1970: an earlier incident says its time.
        `earlier`: incidents that are stored already; they are printed only where they change."""
        self._view_url, self._began_ms = view_url, began_ms
        self._known: Newest[int, _Incident] = Newest()
        self._unsettled: set[int] = set()
        self._gone: list[str] = []
        self._open_events: Newest[object, None] = Newest()
        self._analysed_s = -SETTLED_S
        for each in earlier:
            words = incident_words(each, began_ms)
            self._known.put(each["id"], _Incident(words, 0.0, printed=words))

    def note_event(self, name: object, event_id: object, now_s: float) -> None:
        """Takes a log line of OPENED, or ANALYSED, about an event."""
        if name != ANALYSED:
            self._open_events.put(event_id, None)
        elif event_id in self._open_events:
            del self._open_events[event_id]
            self._analysed_s = now_s

    def accept(self, incident: Mapping[str, Any], now_s: float) -> None:
        """Takes a version of an incident that has reached the page."""
        number, words = incident["id"], incident_words(incident, self._began_ms)
        known = self._known.get(number)
        if known is None:
            self._known.put(number, _Incident(words, now_s))
        elif known.words != words:
            known.words, known.changed_s = words, now_s
        else:
            return
        self._unsettled.add(number)

    def accept_gone(self, number: int) -> None:
        """Takes that an incident is no longer on the page."""
        known = self._known.pop(number, None)
        self._unsettled.discard(number)
        if known is not None and known.printed:
            why = "it is part of another incident, or was withdrawn"
            self._gone.append(f"no longer on the page: incident {number} ({known.printed}); {why}")

    def lines(self, now_s: float, all_of_it: bool = False) -> list[str]:
        """What is to be printed now; `all_of_it`: also what has not settled."""
        found, self._gone = self._gone, []
        for number in sorted(self._unsettled):
            known = self._known.get(number)
            if known is not None and not all_of_it and not self._is_settled(known, now_s):
                continue
            self._unsettled.discard(number)
            if known is None or known.words == known.printed:  # changed, and changed back
                continue
            what = f"incident {number} is now" if known.printed else "on the page"
            found.append(f"{what}: {known.words}, {self._view_url}/incidents/{number}")
            known.printed = known.words
        return found

    def _is_settled(self, known: _Incident, now_s: float) -> bool:
        if now_s - known.changed_s >= AT_MOST_S:
            return True
        return not self._open_events and now_s - max(known.changed_s, self._analysed_s) >= SETTLED_S


def incident_words(incident: Mapping[str, Any], began_ms: float) -> str:
    """`sag to 85.2 % at Box 1`, its summary; with its time where it began before a moment."""
    start_ms, phrase = incident.get("start_ms"), class_phrase(str(incident.get("class")))
    text = str(incident.get("summary")).replace(THIN, " ")
    words = phrase + text[len(phrase) :]
    if not isinstance(start_ms, int | float) or start_ms >= began_ms:
        return words
    began = datetime.fromtimestamp(start_ms / 1000, UTC)
    return f"{words}, which began at {began:%Y-%m-%d %H:%M:%S} UTC, before this start"


def boxes_named(box_ids: Sequence[object]) -> str:
    """`Box 1`, `Boxes 1, 4, 5 and 3 more`."""
    shown = ", ".join(map(str, box_ids[:BOXES_NAMED]))
    more = f" and {len(box_ids) - BOXES_NAMED} more" if len(box_ids) > BOXES_NAMED else ""
    return f"Box{'es' if len(box_ids) > 1 else ''} {shown}{more}"

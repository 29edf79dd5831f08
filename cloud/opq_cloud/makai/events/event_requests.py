"""Requests for an event's data: their identities, the Boxes that an event waits for, and the times of new
requests.

Identities are `data_<token>_<instance>` (docs/reference/opq-interop.md A.6). Times are passed in, monotonic
seconds unless their names say otherwise.
"""

import secrets
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from opq_cloud.makai.events.answers import AnswerReach
from opq_cloud.store.event_record import MAUKA_ASKED, PERSON_ASKED, EventRecord
from opq_proto.messages import Waveform

ALPHABET = string.ascii_letters + string.digits
TOKEN_LENGTH = 30
PREFIX = "data_"
"""Prefix that the event service subscribes to."""
LATEST_END_S = 600.0
"""The longest `post_ms`: a range that ends later comes from a Box's wrong clock."""
OVERLAP_NS = 500_000_000
"""A second request begins this much before the end of the samples here: an original Box numbers no
samples, and its parts are joined where both have the same ones.
"""
SAMPLED_S = 0.5
"""Added to the end of a range before a Box is asked for the rest of it: for its reading and clock."""
MAUKA_NS = 60 * 10**9
"""Time in which Mauka's TriggerPlugin finishes an event whose Boxes it asks itself."""
FRUITLESS_ANSWERS = 2
"""An original Box does not report missing samples, so it is complete after this many answers without new
samples.
"""


def new_token() -> str:
    """Returns 30 random letters and digits: one token per trigger, shared by all its Boxes."""
    return "".join(secrets.choice(ALPHABET) for _ in range(TOKEN_LENGTH))


def request_identity(token: str, instance: str) -> str:
    return f"{PREFIX}{token}_{instance}"


def parse_identity(text: str) -> tuple[str, str] | None:
    """Returns (token, instance); None when it has not exactly three parts, all filled."""
    parts = text.split("_")
    if len(parts) != 3 or parts[0] != "data" or not parts[1] or not parts[2]:
        return None
    return parts[1], parts[2]


@dataclass(slots=True)
class AwaitedBox:
    """A Box from which an event waits for samples, or for the rest of them."""

    next_s: float
    pause_s: float
    """Time from the next request to the one after it; it doubles up to `ask_again_s`."""
    reach_ns: int | None = None
    """End of the samples that are here; None: nothing has come."""
    fruitless: int = 0
    """Answers of an original Box that brought nothing new: it does not report whether it has more."""
    short: str = ""
    """Why its last answer was incomplete."""
    lacking: dict[str, None] = field(default_factory=dict)
    """The parts at the ends that its answers name as missing; no other request brings them."""


@dataclass(slots=True)
class OpenEvent:
    """One event under way."""

    event_id: int
    token: str
    start_ns: int
    end_ns: int
    waiting: dict[str, AwaitedBox]
    give_up_s: float
    instance: str = ""
    received: set[str] = field(default_factory=set)
    foreign: bool = False
    """Opened by the answer itself: an original makai's trigger, which does not list the asked Boxes."""
    announced: bool = False
    owed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Spans that Boxes are asked for because of an analysis, where they differ from the event's own span."""
    opened_by: str = ""
    stamp: tuple[int, int] | None = None
    """A sample of the Box that opened it, and its time by the clock of the event's times."""
    start_id: int | None = None
    """The start of that Box in which this sample counts."""

    def stamp_of(self, box_id: str) -> tuple[int, int] | None:
        """Returns the stamp that a request to this Box names; an analysis asks by the waveform's times."""
        return self.stamp if box_id == self.opened_by and box_id not in self.owed else None

    def span_of(self, box_id: str) -> tuple[int, int]:
        """Returns the span that a Box was last asked for."""
        return self.owed.get(box_id, (self.start_ns, self.end_ns))

    def answers_last(self, box_id: str, wave: Waveform | None) -> bool:
        """Whether samples answer the last request to the Box, and not the one for the event's own span."""
        if wave is None or box_id not in self.owed:
            return True
        start_ns, end_ns = self.owed[box_id]
        return start_ns - OVERLAP_NS <= wave.start_ns < end_ns - OVERLAP_NS

    def over(self, now_s: float) -> bool:
        return now_s >= self.give_up_s or (not self.foreign and not self.waiting)

    def span_missing(self, box_id: str) -> tuple[int, int]:
        """Returns the span still to come from this Box; it overlaps the samples here, so parts meet."""
        start_ns, end_ns = self.span_of(box_id)
        reach_ns = self.waiting[box_id].reach_ns
        if reach_ns is None:
            return start_ns, end_ns
        return max(start_ns, min(reach_ns, end_ns) - OVERLAP_NS), end_ns


def ends_in_s(end_ns: int, utc_ns: int) -> float:
    """Returns seconds until the end of a range, by this machine's clock; `LATEST_END_S` at most."""
    return min(max(0.0, (end_ns - utc_ns) / 1e9), LATEST_END_S)


class OpenEvents:
    """Open events by token; bounded by the unfinished events of the store."""

    def __init__(self, answer_timeout_s: float, ask_again_s: float) -> None:
        self._timeout_s = answer_timeout_s
        self._again_s = ask_again_s
        self._by_token: dict[str, OpenEvent] = {}

    def __len__(self) -> int:
        return len(self._by_token)

    def get(self, token: str) -> OpenEvent | None:
        return self._by_token.get(token)

    def add_event(self, event: OpenEvent) -> None:
        self._by_token[event.token] = event

    def refresh(
        self, records: Iterable[EventRecord], now_s: float, utc_ns: int, first_s: float | None = None
    ) -> None:
        """Adds unfinished events of the store that are not known here.

        A Box can answer once the range has ended; from then on its time counts. `first_s`: when Boxes are
        first asked again; None: as late as `ask_again_s`, because their trigger has just asked them. For a
        person's request the Box was not asked yet: it is asked at once, or when the range has been
        sampled. An event whose Boxes Mauka asks itself is added where Mauka has not finished it MAUKA_NS
        after it was opened.
        """
        pause_s = self._again_s if first_s is None else min(first_s, self._again_s)
        for record in records:
            if (
                MAUKA_ASKED in record.asked_as
                and utc_ns < max(record.end_ns, record.decided_ns or 0) + MAUKA_NS
            ):
                continue
            known = self._by_token.get(record.token)
            latest_ns = max([record.end_ns, *(span[1] for span in record.owed.values())])
            give_up_s = now_s + ends_in_s(latest_ns, utc_ns) + self._timeout_s
            if known is not None:
                if not known.foreign:  # the clock was slow at first and has been corrected
                    known.give_up_s = min(known.give_up_s, give_up_s)
                    _add_new_boxes(known, record, now_s, pause_s, give_up_s)
                continue
            first_at_s = now_s + pause_s
            if PERSON_ASKED in record.asked_as:
                ahead_s = ends_in_s(record.end_ns, utc_ns)
                first_at_s = now_s + (ahead_s + SAMPLED_S if ahead_s else 0.0)
            done = {*record.boxes_received, *record.missing} - set(record.short)
            self._by_token[record.token] = OpenEvent(
                event_id=record.event_id,
                token=record.token,
                start_ns=record.start_ns,
                end_ns=record.end_ns,
                waiting={
                    box_id: AwaitedBox(first_at_s, pause_s)
                    for box_id in record.boxes_triggered
                    if box_id not in done
                },
                give_up_s=give_up_s,
                received=set(record.boxes_received),
                owed=dict(record.owed),
                opened_by=record.opened_by,
                stamp=record.onset_stamp,
                start_id=record.starts.get(record.opened_by),
            )

    def note_short(
        self, event: OpenEvent, box_id: str, reach: AnswerReach, now_s: float, utc_ns: int
    ) -> None:
        """Notes that a Box's answer was incomplete: it is asked for the rest once that is sampled."""
        box = event.waiting[box_id]
        wait_s = min(ends_in_s(event.span_of(box_id)[1], utc_ns) + SAMPLED_S, self._again_s)
        box.pause_s = wait_s if box.reach_ns is None else max(wait_s, box.pause_s)
        box.next_s = now_s + box.pause_s
        box.reach_ns = max(reach.reach_ns, box.reach_ns or 0)
        box.short = reach.short or ""

    def due_requests(self, now_s: float, is_here: Callable[[str, str], bool]) -> list[tuple[OpenEvent, str]]:
        """Returns Boxes that are due to be asked again, each with its event, and sets their next time.

        Args:
            is_here: returns whether a Box's answer to a token waits to be stored: it is not asked.
        """
        due = []
        for event in self._by_token.values():
            for box_id, box in event.waiting.items():
                if now_s < box.next_s or is_here(event.token, box_id):
                    continue
                due.append((event, box_id))
                box.next_s = now_s + box.pause_s
                box.pause_s = min(2 * box.pause_s, self._again_s)
        return due

    def remove_finished(self, now_s: float, is_wanted: Callable[[str], bool]) -> list[OpenEvent]:
        """Removes and returns events that are answered or given up.

        Args:
            is_wanted: returns whether answers to a token wait to be stored: its event is not given up.
        """
        over = [
            event
            for event in self._by_token.values()
            if event.over(now_s) and ((not event.foreign and not event.waiting) or not is_wanted(event.token))
        ]
        for event in over:
            del self._by_token[event.token]
        return over


def _add_new_boxes(
    event: OpenEvent, record: EventRecord, now_s: float, pause_s: float, give_up_s: float
) -> None:
    """Waits for Boxes that were asked since, also where they were given up before, or asked for more."""
    new = set(record.boxes_triggered).difference(
        event.waiting, event.received, record.boxes_received, record.missing
    )
    longer = {box_id for box_id, span in record.owed.items() if event.owed.get(box_id) != span}
    event.owed = dict(record.owed)
    if new or longer:
        event.waiting |= {box_id: AwaitedBox(now_s + pause_s, pause_s) for box_id in sorted(new | longer)}
        event.give_up_s = give_up_s

"""Requests for an event's data: their identity, which Boxes an event waits for, when to ask them again.

Identities are `data_<token>_<instance>` (opq-interop A.6). Times are handed in, monotonic seconds
unless their names say otherwise.
"""

import secrets
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from opq_cloud.makai.answers import AnswerReach
from opq_cloud.store.store import MAUKA_ASKED, PERSON_ASKED, EventRecord
from opq_proto.messages import Waveform

ALPHABET = string.ascii_letters + string.digits
TOKEN_LENGTH = 30
PREFIX = "data_"
"""What the event service subscribes to."""
LATEST_END_S = 600.0
"""The longest `post_ms`: a range that ends later than that has a Box's wrong clock."""
OVERLAP_NS = 500_000_000
"""A second request begins as much before the end of what is here: an original Box numbers no samples, and its
parts are laid where both have the same ones."""
SAMPLED_S = 0.5
"""After the end of a range a Box is asked for what it had not sampled: for its reading and its clock."""
MAUKA_NS = 60 * 10**9
"""By then Mauka's TriggerPlugin has finished an event whose Boxes it asks itself."""
FRUITLESS = 2
"""An original Box does not say what it lacks: after as many answers that bring nothing new it has no more."""


def new_token() -> str:
    """30 random letters and digits: one per trigger, shared by all its Boxes."""
    return "".join(secrets.choice(ALPHABET) for _ in range(TOKEN_LENGTH))


def request_identity(token: str, instance: str) -> str:
    return f"{PREFIX}{token}_{instance}"


def parse_identity(text: str) -> tuple[str, str] | None:
    """(token, instance); None when it has not exactly three parts, all filled."""
    parts = text.split("_")
    if len(parts) != 3 or parts[0] != "data" or not parts[1] or not parts[2]:
        return None
    return parts[1], parts[2]


@dataclass(slots=True)
class AwaitedBox:
    """A Box that owes an event samples, or the rest of them."""

    ask_at_s: float
    pause_s: float
    """Until the next asking after this one; it doubles up to `ask_again_s`."""
    reach_ns: int | None = None
    """Its samples are here up to this; None: nothing has come."""
    fruitless: int = 0
    """Answers of an original Box that brought nothing new: it does not say whether it has more."""
    short: str = ""
    """Why its last answer was not all."""


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
    """Opened by the answer itself: its trigger is an original makai's, which does not say who was asked."""
    announced: bool = False
    owed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """What Boxes are asked for because of an analysis, where it is not the event's own span."""

    def span_of(self, box_id: str) -> tuple[int, int]:
        """What a Box was asked for last."""
        return self.owed.get(box_id, (self.start_ns, self.end_ns))

    def answers_last(self, box_id: str, wave: Waveform | None) -> bool:
        """Whether samples answer what the Box was asked for last, and not the event's own span."""
        if wave is None or box_id not in self.owed:
            return True
        start_ns, end_ns = self.owed[box_id]
        return start_ns - OVERLAP_NS <= wave.start_ns < end_ns - OVERLAP_NS

    def over(self, now_s: float) -> bool:
        return now_s >= self.give_up_s or (not self.foreign and not self.waiting)

    def span_to_ask(self, box_id: str) -> tuple[int, int]:
        """What this Box owes: from a little before the end of what is here, so that the parts meet."""
        start_ns, end_ns = self.span_of(box_id)
        reach_ns = self.waiting[box_id].reach_ns
        if reach_ns is None:
            return start_ns, end_ns
        return max(start_ns, min(reach_ns, end_ns) - OVERLAP_NS), end_ns


def ends_in_s(end_ns: int, utc_ns: int) -> float:
    """Seconds until the end of a range, by this machine's clock; `LATEST_END_S` at most."""
    return min(max(0.0, (end_ns - utc_ns) / 1e9), LATEST_END_S)


class OpenEvents:
    """By token; bounded by what the store has unfinished."""

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
        """Add what the store has unfinished and is not known here.

        A Box can answer once the range has ended; from then on its time counts. `first_s`: when Boxes
        are asked first; None: as late as `ask_again_s`, for their trigger has just asked them. What a person
        asked for nobody has asked of the Box: it is asked at once, or when the range has been sampled. What
        Mauka asks Boxes for itself is taken up where it has not finished it MAUKA_NS after it was opened.
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
                if not known.foreign:  # a clock that was slow at first has been put right
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
            )

    def note_short(
        self, event: OpenEvent, box_id: str, reach: AnswerReach, now_s: float, utc_ns: int
    ) -> None:
        """A Box's answer was not all: it is asked for the rest once that is sampled."""
        box = event.waiting[box_id]
        wait_s = min(ends_in_s(event.span_of(box_id)[1], utc_ns) + SAMPLED_S, self._again_s)
        box.pause_s = wait_s if box.reach_ns is None else max(wait_s, box.pause_s)
        box.ask_at_s = now_s + box.pause_s
        box.reach_ns = max(reach.reach_ns, box.reach_ns or 0)
        box.short = reach.short or ""

    def due_requests(self, now_s: float, is_here: Callable[[str, str], bool]) -> list[tuple[OpenEvent, str]]:
        """Boxes that are due to be asked again, each with its event; the next time is set.

        Args:
            is_here: whether an answer to a token by a Box has come and waits to be stored: it is not asked.
        """
        due = []
        for event in self._by_token.values():
            for box_id, box in event.waiting.items():
                if now_s < box.ask_at_s or is_here(event.token, box_id):
                    continue
                due.append((event, box_id))
                box.ask_at_s = now_s + box.pause_s
                box.pause_s = min(2 * box.pause_s, self._again_s)
        return due

    def remove_finished(self, now_s: float, is_wanted: Callable[[str], bool]) -> list[OpenEvent]:
        """Those that are answered or given up; they are no longer here.

        Args:
            is_wanted: whether answers to a token wait to be stored: its event is not given up.
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
    """Wait for Boxes that were asked since, also where they were given up before, or asked for more."""
    new = set(record.boxes_triggered).difference(
        event.waiting, event.received, record.boxes_received, record.missing
    )
    longer = {box_id for box_id, span in record.owed.items() if event.owed.get(box_id) != span}
    event.owed = dict(record.owed)
    if new or longer:
        event.waiting |= {box_id: AwaitedBox(now_s + pause_s, pause_s) for box_id in sorted(new | longer)}
        event.give_up_s = give_up_s

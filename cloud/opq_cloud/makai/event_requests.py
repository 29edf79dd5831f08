"""Requests for an event's data: their identity, which Boxes an event waits for, when to ask them again.

Identities are `data_<token>_<instance>` (opq-interop A.6). Times are handed in, monotonic seconds
unless their names say otherwise.
"""

import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field

from opq_cloud.store.store import EventRecord

ALPHABET = string.ascii_letters + string.digits
TOKEN_LENGTH = 30
PREFIX = "data_"
"""What the event service subscribes to."""
LATEST_END_S = 600.0
"""The longest `post_ms`: a range that ends later than that has a Box's wrong clock."""


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
class OpenEvent:
    """One event under way."""

    event_id: int
    token: str
    start_ns: int
    end_ns: int
    waiting: set[str]
    give_up_s: float
    ask_at_s: float
    pause_s: float
    """Until the next asking after this one; it doubles up to `ask_again_s`."""
    instance: str = ""
    received: set[str] = field(default_factory=set)
    foreign: bool = False
    """Opened by the answer itself: its trigger is an original makai's, which does not say who was asked."""

    def over(self, now_s: float) -> bool:
        return now_s >= self.give_up_s or (not self.foreign and not self.waiting)


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
        are asked first; None: as late as `ask_again_s`, for their trigger has just asked them.
        """
        pause_s = self._again_s if first_s is None else min(first_s, self._again_s)
        for record in records:
            if record.token in self._by_token:
                continue
            done = {*record.boxes_received, *record.missing}
            ends_in_s = min(max(0.0, (record.end_ns - utc_ns) / 1e9), LATEST_END_S)
            self._by_token[record.token] = OpenEvent(
                event_id=record.event_id,
                token=record.token,
                start_ns=record.start_ns,
                end_ns=record.end_ns,
                waiting=set(record.boxes_triggered) - done,
                give_up_s=now_s + ends_in_s + self._timeout_s,
                ask_at_s=now_s + pause_s,
                pause_s=pause_s,
                received=set(record.boxes_received),
            )

    def due_requests(self, now_s: float) -> list[OpenEvent]:
        """Those whose Boxes are due to be asked again; the next time is set."""
        due = [event for event in self._by_token.values() if event.waiting and now_s >= event.ask_at_s]
        for event in due:
            event.ask_at_s = now_s + event.pause_s
            event.pause_s = min(2 * event.pause_s, self._again_s)
        return due

    def remove_finished(self, now_s: float) -> list[OpenEvent]:
        """Those that are answered or given up; they are no longer here."""
        over = [event for event in self._by_token.values() if event.over(now_s)]
        for event in over:
            del self._by_token[event.token]
        return over

"""Requests of analyses for more samples than an event has, as the event's document stores them. Pure.

A request is stored with its event, under a number, so that it is made once: Mauka adds it, Makai answers it
(asked, or refused with the reasons), and it survives when either is killed. `owed` of the event is the span
that a Box has to send because of a request, where this is not the event's own span.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

NsSpan = tuple[int, int]
"""[start_ns, end_ns)."""
WAITING = "waiting"
"""State of a request: Makai has not answered."""
ASKED = "asked"
"""State of a request: Makai has asked some Boxes."""
REFUSED = "refused"
"""State of a request: Makai has not asked a Box."""
IN_EVENT = "in_event"
"""Reason of refusal: another event has all that this one would have, or will have it."""
REQUESTS_READ = 100
"""Events that `events_with_requests` returns at most."""
BY_MAKAI = "makai"
"""`analysis` of a request that Makai makes itself: its disturbance ended just after the event."""
MANY_ROUNDS = 1 << 30
"""Its requests are limited by the disturbances; they are not part of the rounds of the analyses."""
ANALYSIS_ASKED = "analysis"
"""The reason in the event's `asked_as` for Boxes that are asked because of a request."""
LONGER = "a longer span is asked for"
"""The event's `missing` text of a Box that has answered before, until it answers the request."""


@dataclass(frozen=True, slots=True)
class StoredSampleRequest:
    """One request for an event.

    Attributes:
        spans: Box -> the span it is asked for, more than what is stored.
        beside: Boxes whose neighbours are asked for `span_ns`, at most `most_boxes` of them.
        round: 1 for a request about the event as Makai opened it, 2 after a first answer, and so on.
        boxes: which Boxes Makai has asked.
        refused: how many Boxes it has not asked, by reason.
    """

    analysis: str
    because: str
    spans: Mapping[str, NsSpan] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    most_boxes: int = 0
    span_ns: NsSpan | None = None
    round: int = 1
    state: str = WAITING
    boxes: tuple[str, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    requested_ns: int | None = None
    answered_ns: int | None = None

    @property
    def answer_words(self) -> str:
        """Makai's answer in words."""
        if self.state == WAITING:
            return "Makai has not answered yet"
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(self.refused.items()))
        asked = "no Box asked" if not self.boxes else f"asked Box {', '.join(self.boxes)}"
        return asked + (f", refused: {why}" if why else "")


@dataclass(frozen=True, slots=True)
class SamplesAnswer:
    """Makai's answer to a request: Box -> the span it is asked for; reason -> number of Boxes not asked."""

    spans: Mapping[str, NsSpan]
    refused: Mapping[str, int]
    answered_ns: int


def counter_of(reason: str) -> str:
    """The counter of Boxes that are not asked; where another event has their samples, nothing is missing."""
    return "samples_in_event" if reason == IN_EVENT else "samples_refused"


def request_document(request: StoredSampleRequest) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(request)
    return document


def request_json(request: StoredSampleRequest) -> dict[str, Any]:
    """Returns a request as JSON for pages and programs; times in ms, null where unknown."""
    spans = request.spans.values() or ([request.span_ns] if request.span_ns else [])
    return {
        "analysis": request.analysis,
        "because": request.because,
        "box_ids": list(request.spans),
        "beside": list(request.beside),
        "start_ms": min((span[0] for span in spans), default=0) / 1e6 if spans else None,
        "end_ms": max((span[1] for span in spans), default=0) / 1e6 if spans else None,
        "round": request.round,
        "state": request.state,
        "asked": list(request.boxes),
        "refused": dict(request.refused),
        "requested_ms": None if request.requested_ns is None else request.requested_ns / 1e6,
        "answered_ms": None if request.answered_ns is None else request.answered_ns / 1e6,
    }


def requests_of(document: Mapping[str, Any]) -> dict[int, StoredSampleRequest]:
    """Returns number -> request, from an event's document."""
    found = {
        int(number): msgspec.convert(each, StoredSampleRequest)
        for number, each in document.get("more", {}).items()
    }
    return dict(sorted(found.items()))


def new_requests(
    known: Mapping[int, StoredSampleRequest], wanted: Sequence[StoredSampleRequest], most_rounds: int
) -> dict[int, StoredSampleRequest]:
    """Returns those of `wanted` that were not made for this event yet, with their numbers and rounds.

    A Box is asked once for a span, whichever analysis wants it; so are the neighbours of the same Boxes.
    Nothing is added beyond `most_rounds`.
    """
    answered = [each.round for each in known.values() if each.state != WAITING and each.analysis != BY_MAKAI]
    this_round = max(answered, default=0) + 1
    if this_round > most_rounds:
        return {}
    made: dict[int, StoredSampleRequest] = dict(known)
    for each in wanted:
        if each.beside:
            if any(each.beside == one.beside and each.span_ns == one.span_ns for one in made.values()):
                continue
            fresh = each
        else:
            spans = {
                box_id: span for box_id, span in each.spans.items() if not _was_requested(made, box_id, span)
            }
            if not spans:
                continue
            fresh = replace(each, spans=spans)
        made[max(made, default=0) + 1] = replace(fresh, round=this_round)
    return {number: each for number, each in made.items() if number not in known}


def answered_request(request: StoredSampleRequest, answer: SamplesAnswer) -> StoredSampleRequest:
    """Returns the request with Makai's answer."""
    return replace(
        request,
        state=ASKED if answer.spans else REFUSED,
        boxes=tuple(answer.spans),
        refused=dict(answer.refused),
        answered_ns=answer.answered_ns,
    )


def _was_requested(made: Mapping[int, StoredSampleRequest], box_id: str, span: NsSpan) -> bool:
    earlier = [one.spans[box_id] for one in made.values() if box_id in one.spans]
    return any(start_ns <= span[0] and span[1] <= end_ns for start_ns, end_ns in earlier)

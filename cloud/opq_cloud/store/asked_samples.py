"""What analyses ask Makai for beyond an event's samples, as the event's document keeps it. Pure.

A request is kept with its event, under a number, so that it is made once: Mauka adds it, Makai answers it
(asked, or refused with the reasons), and neither forgets it when it is killed. `owed` of the event says
which samples a Box owes because of it, where these are not those of the event's own span.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

NsSpan = tuple[int, int]
"""[start_ns, end_ns)."""
WAITING, ASKED, REFUSED = "waiting", "asked", "refused"
"""States of a request: nobody has answered it; some Boxes are asked; none is."""
ANALYSIS_ASKED = "analysis"
"""Why a Box is asked: a reason of the event's `asked_as`."""
LONGER = "a longer span is asked for"
"""What a Box lacks until it answers."""


@dataclass(frozen=True, slots=True)
class AskedSamples:
    """One request for an event.

    Attributes:
        spans: Box -> what it is asked for, beyond what is here of it.
        beside: Boxes whose neighbours are asked, for `span_ns`, `most_boxes` of them.
        round: 1 for what was asked of the event as Makai opened it, 2 for that of the grown one.
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
        """What Makai has made of it."""
        if self.state == WAITING:
            return "Makai has not answered yet"
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(self.refused.items()))
        asked = "no Box asked" if not self.boxes else f"asked Box {', '.join(self.boxes)}"
        return asked + (f", refused: {why}" if why else "")


@dataclass(frozen=True, slots=True)
class SamplesAnswer:
    """Makai's answer to a request: Box -> the span that it is asked for, and who is not asked, by reason."""

    spans: Mapping[str, NsSpan]
    refused: Mapping[str, int]
    answered_ns: int


def request_document(request: AskedSamples) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(request)
    return document


def request_json(request: AskedSamples) -> dict[str, Any]:
    """For people's and programs' eyes; times in ms, and null where nobody knows."""
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


def requests_of(document: Mapping[str, Any]) -> dict[int, AskedSamples]:
    """Those of an event's document, by their numbers."""
    found = {
        int(number): msgspec.convert(each, AskedSamples) for number, each in document.get("more", {}).items()
    }
    return dict(sorted(found.items()))


def new_requests(
    known: Mapping[int, AskedSamples], wanted: Sequence[AskedSamples], most_rounds: int
) -> dict[int, AskedSamples]:
    """Those of `wanted` that were never made for this event, with their numbers and rounds.

    A Box is asked once for a span, whichever analysis wants it; neighbours of the same Boxes once.
    Nothing is added beyond `most_rounds`.
    """
    answered = [each.round for each in known.values() if each.state != WAITING]
    this_round = max(answered, default=0) + 1
    if this_round > most_rounds:
        return {}
    made: dict[int, AskedSamples] = dict(known)
    for each in wanted:
        if each.beside:
            if any(each.beside == one.beside and each.span_ns == one.span_ns for one in made.values()):
                continue
            fresh = each
        else:
            spans = {
                box_id: span for box_id, span in each.spans.items() if not _was_asked(made, box_id, span)
            }
            if not spans:
                continue
            fresh = replace(each, spans=spans)
        made[max(made, default=0) + 1] = replace(fresh, round=this_round)
    return {number: each for number, each in made.items() if number not in known}


def answered_request(request: AskedSamples, answer: SamplesAnswer) -> AskedSamples:
    """The request as Makai has answered it."""
    return replace(
        request,
        state=ASKED if answer.spans else REFUSED,
        boxes=tuple(answer.spans),
        refused=dict(answer.refused),
        answered_ns=answer.answered_ns,
    )


def _was_asked(made: Mapping[int, AskedSamples], box_id: str, span: NsSpan) -> bool:
    earlier = [one.spans[box_id] for one in made.values() if box_id in one.spans]
    return any(start_ns <= span[0] and span[1] <= end_ns for start_ns, end_ns in earlier)

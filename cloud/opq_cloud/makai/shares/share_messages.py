"""Messages between triggering services of several shares: frames of one message each.

further share -> first   beat: it is here, with the Boxes that it heard; onset, end: numbered; bye
first -> further share   shares: the present ones; settled: numbers that need not be sent again
"""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.shares.box_shares import MAX_SHARES
from opq_proto.decision import Decision
from opq_proto.errors import FrameError
from opq_proto.messages import Measurement
from opq_proto.wire import MAX_WINDOW_NS, measurement_from_wire, measurement_to_wire
from opq_proto.wire_waveforms import box_number

BEAT, ONSET, END, BYE, SHARES, SETTLED = b"beat", b"onset", b"end", b"bye", b"shares", b"settled"
RECEIVED_COLUMNS = 4
"""Box number, time of its last Measurement in ms, length of its window, its longest lately, both ns."""
MAX_RECEIVED = 100_000
"""Boxes of one beat."""
MAX_NUMBER = 2**63 - 1
MAX_WORDS = 2000
"""Limit in characters of a decision's reason; the rest is left out."""
_LATEST_NS = 2**62


@dataclass(frozen=True, slots=True)
class ShareBeat:
    """Reports that a further share is here."""

    number: int
    of: int
    received: NDArray[np.int64]
    """(n, RECEIVED_COLUMNS) its Boxes since its last beat."""


@dataclass(frozen=True, slots=True)
class SharesHere:
    """The answer to each beat, sent to all when it changes."""

    shares: tuple[int, ...]
    """Empty: the first share does not know yet, and its last message holds."""
    problem: str
    """Why the recipient is not among them; empty: it is."""


@dataclass(frozen=True, slots=True)
class HandedOnset:
    """A Measurement for the first share; with `compare` also for the triggers that compare Boxes."""

    number: int
    measurement: Measurement
    decision: Decision | None
    compare: bool
    began_with: int | None = None
    """As `BoxStarts.began_with`; a share of an earlier version does not report it."""


@dataclass(frozen=True, slots=True)
class HandedEnd:
    """A disturbance is over."""

    number: int
    box_id: str
    decision: Decision


def beat_frames(number: int, of: int, received: NDArray[np.int64]) -> list[bytes]:
    """Encodes a message for `read_message`; the same holds for all below."""
    return [BEAT, json.dumps([number, of]).encode(), received.astype("<i8").tobytes()]


def onset_frames(handed: HandedOnset) -> list[bytes]:
    """Encodes an onset. Raises FrameError: its Measurement does not fit the wire format."""
    fields = [handed.number, handed.compare, _decision_json(handed.decision)]
    fields += [] if handed.began_with is None else [handed.began_with]
    return [ONSET, json.dumps(fields).encode(), measurement_to_wire(handed.measurement)]


def end_frames(handed: HandedEnd) -> list[bytes]:
    return [END, json.dumps([handed.number, handed.box_id, _decision_json(handed.decision)]).encode()]


def shares_frames(here: SharesHere) -> list[bytes]:
    return [SHARES, json.dumps([here.shares, here.problem]).encode()]


def settled_frames(numbers: list[int]) -> list[bytes]:
    return [SETTLED, json.dumps(numbers).encode()]


def read_message(
    frames: list[bytes],
) -> ShareBeat | HandedOnset | HandedEnd | SharesHere | list[int] | None:
    """Returns the message in these frames; a list holds the numbers that are settled, None: a share leaves.

    Raises FrameError where the frames are no message of a share.
    """
    kind = frames[0]
    try:
        fields = json.loads(frames[1]) if len(frames) > 1 else []
        if kind == BYE:
            return None
        if kind == BEAT:
            return ShareBeat(_whole(fields[0]), _whole(fields[1]), _read_received(frames[2]))
        if kind == ONSET:
            row = measurement_from_wire(frames[2])
            box_number(row.box_id)
            began_with = _whole(fields[3]) if len(fields) > 3 else None
            return HandedOnset(_whole(fields[0]), row, _decision(fields[2]), bool(fields[1]), began_with)
        if kind == END:
            decision = _decision(fields[2])
            if decision is None or decision.span_ns is None:
                raise ValueError("a message has no end")
            return HandedEnd(_whole(fields[0]), str(box_number(str(fields[1]))), decision)
        if kind == SHARES:
            if len(fields[0]) > MAX_SHARES:
                raise ValueError("too many shares")
            return SharesHere(tuple(map(_whole, fields[0])), str(fields[1])[:MAX_WORDS])
        if kind == SETTLED:
            return [_whole(number) for number in fields]
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, RecursionError) as error:
        raise FrameError(f"{kind[:20]!r} of another share cannot be read: {error}") from error
    raise FrameError(f"{kind[:20]!r}: no message of another share")


def _read_received(data: bytes) -> NDArray[np.int64]:
    """Reads the Boxes of a beat, with windows limited to MAX_WINDOW_NS: a longer one would keep a Box
    alive for ever.
    """
    received = np.frombuffer(data, "<i8").astype(np.int64).reshape(-1, RECEIVED_COLUMNS)
    numbers = received[:, 0]
    if len(received) > MAX_RECEIVED or bool(((numbers < 0) | (numbers >= 2**31)).any()):
        raise ValueError("too many Boxes, or an invalid Box id")
    np.clip(received[:, 2:], 0, MAX_WINDOW_NS, out=received[:, 2:])
    return received


def _decision_json(decision: Decision | None) -> list[object] | None:
    if decision is None:
        return None
    each = decision
    return [each.metric, each.value, each.limit, each.because, each.span_ns, each.since_ns]


def _decision(fields: object) -> Decision | None:
    if fields is None:
        return None
    if not isinstance(fields, list) or len(fields) != 6:
        raise ValueError("a message has no decision")
    metric, value, limit, because, span_ns, since_ns = fields
    span = None if span_ns is None else (_whole(span_ns[0]), _whole(span_ns[1]))
    since = None if since_ns is None else _whole(since_ns)
    if span is not None and not (since or 0) <= span[0] < span[1] < _LATEST_NS:
        raise ValueError("a span that ends before it begins, or after 2116")
    words = str(because)[:MAX_WORDS]
    return Decision(str(metric)[:MAX_WORDS], float(value), float(limit), words, span, since)


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise ValueError(f"{value!r:.40} is no whole number")
    return value

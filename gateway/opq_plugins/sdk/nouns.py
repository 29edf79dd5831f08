"""Measurements, Events, Decisions and Findings as plain values and back; checks of what a plug-in returns.

A worker is not trusted: its answers are converted by type and checked against bounds. Pickle is never used.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from numbers import Integral
from typing import Any, TypeAlias, TypeVar, get_args

import msgspec
import numpy as np

from opq_plugins.sdk import Value
from opq_proto.decision import Decision
from opq_proto.measurement.intervals import LENGTHS_MS
from opq_proto.messages import (
    AT_INSTANTS,
    TREND_LEVELS,
    Event,
    Finding,
    History,
    HistoryRequest,
    Incident,
    Measurement,
    Message,
    Phenomenon,
    SampleRequest,
    Trend,
)

ARRAYS = {kind.type: kind for kind in map(np.dtype, ("<i2", "<f8", "?"))}
"""Type of an array's values -> how they go over the wire: counts, numbers and flags."""
MAX_NS = 2**62
"""Small enough that a request for some time around a span fits into 64 bits, too."""
TIMES = ("start_ns", "end_ns", "uncertainty_ns")
LONGEST_NS = 3600 * 10**9
MAX_FINDINGS = 10_000
"""Findings in one event."""
MAX_FIGURES = 64
"""Figures of one finding."""
LARGEST_NUMBER = 1e12
"""Size of any number of a finding or decision: means and squares of several are still finite."""
MAX_REQUESTS = 20
"""Requests for more samples of one event."""
MAX_ASKED = 100
"""Boxes of one request."""
MAX_NAME = 64
"""Characters of a name: of a metric, a kind or a class."""
MAX_TEXT = 2000
UNSHOWN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""What a store or a page cannot hold: control characters, and halves of a character."""
"""Characters of a sentence."""
CLASS_NAME = re.compile(r"[A-Za-z0-9_.-]+")
"""The kind of a finding: several are joined by `+`, and pages turn `_` into a blank."""
MAX_MESSAGE = 65_536
"""Bytes of the values of a Message, as JSON."""
SHORTEST_EVERY_S = 60.0
MOST_DAYS = 400
LONGEST_EVERY_S = 86_400 * MOST_DAYS
BY_ORDER = ("harmonics_v", "interharmonics_v", *AT_INSTANTS)
"""Quantities of intervals with many values each, which a History does not have."""
MAX_QUANTITIES = 32
"""Quantities of one HistoryRequest."""
HISTORY_BOXES = ("alone", "neighbours", "all")
MOST_TOGETHER = {"alone": 1, "neighbours": 9, "all": 200}
"""Boxes of one History."""
MAX_HISTORY_VALUES = 4_000_000
"""Values of one History: some 36 MB on the way to a worker."""
MAX_DETAILS = 65_536
"""Bytes of a phenomenon's details, as JSON."""
NOT_DETAILS = ("type", "analysis", "version", "because", "quantity", "size", "lasting")
"""Names that a phenomenon's details may not have, because its own fields and its analysis are stored so."""
MEASUREMENT_TYPES = ("VOLTAGE", "FREQUENCY", "THD", "TRANSIENT", "HEALTH")

DERIVING = ("Finding", "Incident")
"""Nouns from which an analysis makes findings of its own class only."""

Noun = TypeVar("Noun")
Item: TypeAlias = Measurement | Trend | Finding | Incident | History
"""The nouns that an analysis takes one by one; an Event is handed over alone."""


@dataclass(frozen=True, slots=True)
class ItemBatch:
    """Items for an analysis, in their order. All are of one noun; the other lists are empty."""

    measurements: list[Measurement] = field(default_factory=list)
    trends: list[Trend] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    histories: list[History] = field(default_factory=list)

    @classmethod
    def of(cls, noun: str, items: Sequence[Item]) -> "ItemBatch":
        """Makes the batch. `noun`: the name of their class."""
        named = "histories" if noun == History.__name__ else f"{noun.lower()}s"
        given: dict[str, Value] = {named: list(items)}
        return cls(**given)

    @property
    def items(self) -> Sequence[Item]:
        return self.measurements or self.trends or self.findings or self.incidents or self.histories


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The results of an analysis for a batch.

    Attributes:
        failed, error: number of items on which it raised, and the last error.
    """

    findings: list[Finding] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    failed: int = 0
    error: str = ""
    phenomena: list[Phenomenon] = field(default_factory=list)


def boxes_of(item: Item) -> tuple[str, ...]:
    """The Boxes that an item is about."""
    if isinstance(item, History):
        return tuple(each.box_id for each in item.boxes)
    return item.box_ids if isinstance(item, Incident) else (item.box_id,)


def to_plain(value: object) -> Value:
    """Dicts, lists, numbers, text; arrays as bytes (ARRAYS). Raises TypeError."""
    return msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=_plain_number)


def from_plain(plain: Value, noun: type[Noun]) -> Noun:
    """The inverse of `to_plain`. Raises msgspec.ValidationError, a ValueError: it is not such a noun."""
    return msgspec.convert(plain, noun, dec_hook=_array)


def decision_from(plain: Value) -> Decision | None:
    """The checked Decision of a worker's answer. Raises ValueError."""
    if plain is not None and not isinstance(plain, dict):
        raise ValueError(f"decide() gave {type(plain).__name__}; want a Decision or None")
    return None if plain is None else checked_decision(_given(plain, Decision, "Decision"))


def findings_from(plain: Value, event: Event) -> tuple[Finding, ...]:
    """The checked findings of a worker's answer. Raises ValueError."""
    return findings_of_event(_given(plain, list[Finding], "Findings"), event)


def result_from(plain: Value, batch: ItemBatch) -> BatchResult:
    """The checked results of a worker's answer. Raises ValueError."""
    result = _given(plain, BatchResult, "BatchResult")
    boxes = {box_id for item in batch.items for box_id in boxes_of(item)}
    found = checked_findings(result.findings, boxes)
    phenomena = checked_phenomena(result.phenomena, batch.histories)
    messages = checked_messages(result.messages, boxes)
    return replace(result, findings=list(found), messages=list(messages), phenomena=list(phenomena))


def checked_decision(decision: object) -> Decision | None:
    """The decision with plain numbers. TypeError, ValueError: it is not a Decision, or a field is out of
    bounds."""
    if decision is None:
        return None
    if not isinstance(decision, Decision):
        raise TypeError(f"decide() gave {type(decision).__name__}; want a Decision or None")
    _check_finite(decision, ("value", "limit"))
    _check_length(decision, {"metric": MAX_NAME, "because": MAX_TEXT})
    span_ns = None
    if decision.span_ns is not None:
        start_ns, end_ns = span_ns = int(decision.span_ns[0]), int(decision.span_ns[1])
        if not 0 <= start_ns <= end_ns < MAX_NS or end_ns - start_ns > LONGEST_NS:
            raise ValueError(f"gave a Decision with span_ns {span_ns}; want start before end, at most 1 h")
    return replace(decision, value=float(decision.value), limit=float(decision.limit), span_ns=span_ns)


def boxes_in(event: Event) -> frozenset[str]:
    """The Boxes with a waveform in the event."""
    return frozenset(wave.box_id for wave in event.waveforms)


def findings_of_event(findings: Iterable[object], event: Event) -> tuple[Finding, ...]:
    """The findings, all at its Boxes and about its time. TypeError, ValueError as `checked_findings`."""
    found = checked_findings(findings, boxes_in(event))
    first_ns = min((wave.start_ns for wave in event.waveforms), default=0) - LONGEST_NS
    last_ns = max((wave.end_ns for wave in event.waveforms), default=0) + LONGEST_NS
    for one in found:
        if one.start_ns < first_ns or one.end_ns > last_ns:
            raise ValueError(
                f"gave a finding from {one.start_ns} to {one.end_ns} ns, more than 1 h from its waveforms"
            )
    return found


def checked_findings(findings: Iterable[object], boxes: Collection[str]) -> tuple[Finding, ...]:
    """The findings, all at these Boxes. TypeError, ValueError: too many, or out of bounds."""
    found: list[Finding] = []
    findings = list(findings)
    if len(findings) > MAX_FINDINGS:
        raise ValueError(f"gave {len(findings)} findings at once; at most {MAX_FINDINGS}")
    names = dict.fromkeys(("kind", "box_id", "measurement_type", "ieee1159", "itic", "semi_f47"), MAX_NAME)
    for finding in findings:
        if not isinstance(finding, Finding):
            raise TypeError(f"it gave a {type(finding).__name__}; want Finding")
        _check_length(finding, names | {"because": MAX_TEXT})
        if not all(map(CLASS_NAME.fullmatch, finding.kind.split("+"))):
            raise ValueError(
                f"gave a finding of kind {finding.kind!r}; want letters, digits, _, . and -, "
                "classes joined by +"
            )
        if finding.box_id not in boxes:
            raise ValueError(f"it gave a finding of Box {finding.box_id!r}, but received nothing of it")
        _check_finite(finding, ("residual_v", "residual_percent", "duration_cycles", "confidence"))
        if finding.confidence is not None and not 0 <= finding.confidence <= 1:
            raise ValueError(f"gave a finding with confidence {finding.confidence}; want 0 to 1")
        start_ns, end_ns, uncertainty_ns = (_whole_ns(finding, name) for name in TIMES)
        finding = replace(finding, start_ns=start_ns, end_ns=end_ns, uncertainty_ns=uncertainty_ns)
        if finding.start_ns > finding.end_ns:
            late_ns = finding.start_ns - finding.end_ns
            raise ValueError(f"it gave a finding that ends {late_ns} ns before its start")
        _check_figures(finding.figures)
        if finding.measurement_type not in MEASUREMENT_TYPES:
            kind, want = finding.measurement_type[:80], ", ".join(MEASUREMENT_TYPES)
            raise ValueError(f"gave a finding of measurement_type {kind!r}; want {want}")
        found.append(finding)
    return tuple(found)


def checked_messages(messages: Iterable[object], boxes: Collection[str]) -> tuple[Message, ...]:
    """The messages, all about these Boxes. TypeError, ValueError: not JSON, too many, or too long."""
    found: list[Message] = []
    for message in messages:
        if not isinstance(message, Message):
            raise TypeError(f"it gave a {type(message).__name__}; want Message")
        if message.box_id is not None and message.box_id not in boxes:
            raise ValueError(f"it gave a Message about Box {message.box_id!r}, but received nothing of it")
        _checked_json(message.values, "a Message with values", MAX_MESSAGE)
        found.append(message)
    if len(found) > MAX_FINDINGS:
        raise ValueError(f"gave {len(found)} Messages at once; at most {MAX_FINDINGS}")
    return tuple(found)


def checked_phenomena(phenomena: Iterable[object], histories: Sequence[History]) -> tuple[Phenomenon, ...]:
    """The phenomena, all at Boxes of these histories. TypeError, ValueError: too many, or out of bounds."""
    found: list[Phenomenon] = []
    boxes = {box_id for each in histories for box_id in boxes_of(each)}
    subjects = {box_id for each in histories for box_id in each.subjects}
    for one in phenomena:
        if not isinstance(one, Phenomenon):
            raise TypeError(f"it gave a {type(one).__name__}; want Phenomenon")
        names = dict.fromkeys(("kind", "quantity", "unit"), MAX_NAME)
        _check_length(one, names | {"because": MAX_TEXT})
        if not CLASS_NAME.fullmatch(one.kind):
            raise ValueError(f"gave a phenomenon of kind {one.kind!r}; want letters, digits, _, . and - only")
        if not one.because.strip():
            raise ValueError(f"gave a phenomenon of kind {one.kind!r} without because; want a sentence")
        box_ids = tuple(dict.fromkeys(one.box_ids))
        if not box_ids or box_ids[0] not in subjects or not boxes.issuperset(box_ids):
            raise ValueError(
                f"gave a phenomenon of Boxes {str(box_ids)[:80]}; want a subject of the history first, and "
                "Boxes of the history only"
            )
        start_ns, end_ns = _whole_ns(one, "start_ns"), _whole_ns(one, "end_ns")
        if start_ns > end_ns:
            raise ValueError(f"gave a phenomenon that ends {start_ns - end_ns} ns before its start")
        _check_finite(one, ("size",))
        size = None if one.size is None else float(one.size)
        if not any(each.start_ns <= end_ns and start_ns < each.end_ns for each in histories):
            raise ValueError(f"gave a phenomenon from {start_ns} to {end_ns} ns; want one in its history")
        details = _checked_json(one.details, "a phenomenon with details", MAX_DETAILS)
        if taken := [name for name in NOT_DETAILS if name in details]:
            raise ValueError(f"gave a phenomenon with {taken[0]!r} in details; want its own figures only")
        if not isinstance(details.get("unit", ""), str):
            raise TypeError(f"gave a phenomenon with unit {details['unit']!r} in details; want text")
        found.append(
            replace(
                one,
                box_ids=box_ids,
                start_ns=start_ns,
                end_ns=end_ns,
                size=size,
                lasting=bool(one.lasting),
                details=details,
            )
        )
    if len(found) > MAX_FINDINGS:
        raise ValueError(f"gave {len(found)} phenomena at once; at most {MAX_FINDINGS}")
    return tuple(found)


def history_request_from(plain: Value) -> HistoryRequest:
    """The checked request of a worker's answer. Raises ValueError."""
    return checked_history_request(_given(plain, HistoryRequest, "HistoryRequest"))


def checked_history_request(request: object) -> HistoryRequest:
    """The request, within its limits. TypeError, ValueError: what is wrong, and what is allowed."""
    if not isinstance(request, HistoryRequest):
        raise TypeError(f"reads() gave a {type(request).__name__}; want HistoryRequest")
    if not SHORTEST_EVERY_S <= request.every_s <= LONGEST_EVERY_S:
        raise ValueError(f"reads every_s {request.every_s}; want {SHORTEST_EVERY_S:g} to {LONGEST_EVERY_S}")
    if not 1 <= request.days <= MOST_DAYS:
        raise ValueError(f"reads days {request.days}; want 1 to {MOST_DAYS}")
    if request.boxes not in HISTORY_BOXES:
        raise ValueError(f"reads boxes {request.boxes!r}; want {', '.join(HISTORY_BOXES)}")
    for name, length_ms, allowed in (
        ("interval_ms", request.interval_ms, LENGTHS_MS),
        ("trend_ms", request.trend_ms, tuple(TREND_LEVELS.values())),
    ):
        if length_ms not in allowed:
            raise ValueError(f"reads {name} {length_ms}; want {', '.join(map(str, allowed))}")
    for name, given, example in (
        ("intervals", request.intervals, "rms_v and f_hz"),
        ("trends", request.trends, "rms and dc"),
    ):
        for each in given:
            if not CLASS_NAME.fullmatch(each) or len(each) > MAX_NAME or each in BY_ORDER:
                raise ValueError(
                    f"reads {name} {each[:80]!r}; want quantities of one value, such as {example}"
                )
    if len(request.intervals) + len(request.trends) > MAX_QUANTITIES:
        raise ValueError(f"reads more than {MAX_QUANTITIES} quantities")
    day_ms, boxes = 86_400_000 * request.days, MOST_TOGETHER[request.boxes]
    values = (
        boxes
        * day_ms
        * (len(request.intervals) / request.interval_ms + 3 * len(request.trends) / request.trend_ms)
    )
    if values > MAX_HISTORY_VALUES:
        raise ValueError(
            f"reads {values:.0f} values at once, of {boxes} Boxes; at most {MAX_HISTORY_VALUES}: "
            "want fewer days or quantities, or longer intervals"
        )
    return request


def requests_from(plain: Value) -> tuple[SampleRequest, ...]:
    """The checked requests of a worker's answer. Raises ValueError."""
    return checked_requests(_given(plain, list[SampleRequest], "SampleRequests"))


def checked_requests(requests: Iterable[object]) -> tuple[SampleRequest, ...]:
    """The requests, which name Boxes and a span. TypeError, ValueError: too many, or out of bounds."""
    found: list[SampleRequest] = []
    for request in requests:
        if not isinstance(request, SampleRequest):
            raise TypeError(f"wants() gave a {type(request).__name__}; want SampleRequest")
        _check_length(request, {"because": MAX_TEXT})
        named = (*request.box_ids, *request.beside)
        if bool(request.box_ids) == bool(request.beside) or len(named) > MAX_ASKED:
            raise ValueError(
                f"asks for box_ids {len(request.box_ids)} and beside {len(request.beside)}; "
                f"want one of them, 1 to {MAX_ASKED} Boxes"
            )
        if not all(isinstance(box_id, str) and len(box_id) <= MAX_NAME for box_id in named):
            raise TypeError(f"asks for Boxes {str(named)[:80]}; want their ids as text")
        if not 1 <= request.most_boxes <= MAX_ASKED:
            raise ValueError(f"asks for most_boxes {request.most_boxes}; want 1 to {MAX_ASKED}")
        start_ns, end_ns = request.start_ns, request.end_ns
        for name, value in (("start_ns", start_ns), ("end_ns", end_ns)):
            if value is not None and not 0 <= value < MAX_NS:
                raise ValueError(f"asks for {name} {value}; want 0 to {MAX_NS}")
        if start_ns is not None and end_ns is not None and start_ns >= end_ns:
            raise ValueError(f"asks for a span that ends {start_ns - end_ns} ns before its start")
        found.append(request)
        if len(found) > MAX_REQUESTS:
            raise ValueError(f"asks more than {MAX_REQUESTS} times for one event")
    return tuple(found)


def _given(plain: Value, noun: type[Noun], name: str) -> Noun:
    try:
        return from_plain(plain, noun)
    except msgspec.ValidationError as error:
        raise ValueError(f"gave no {name}: {error}") from None


def _checked_json(values: object, what: str, most_bytes: int) -> dict[str, Any]:
    """Names with what JSON has; raises TypeError, ValueError."""
    if not isinstance(values, Mapping):
        raise TypeError(f"it gave {what} of type {type(values).__name__}; want names with values")
    try:
        size = len(json.dumps(dict(values), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"it gave {what} that are not JSON: {error}") from None
    if size > most_bytes:
        raise ValueError(f"it gave {what} of {size} bytes; at most {most_bytes}")
    return dict(values)


def _check_figures(figures: object) -> None:
    """Pairs of a name and a finite number; raises TypeError, ValueError."""
    if not isinstance(figures, tuple) or len(figures) > MAX_FIGURES:
        raise ValueError(
            f"gave a finding with figures {str(figures)[:80]}; want a tuple, at most {MAX_FIGURES}"
        )
    for pair in figures:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeError(f"gave a finding with the figure {str(pair)[:80]}; want a name and a number")
        wrong_name = len(pair[0]) > MAX_NAME or UNSHOWN.search(pair[0])
        if wrong_name or not (abs(pair[1]) <= LARGEST_NUMBER and isfinite(pair[1])):
            raise ValueError(
                f"gave a finding with the figure {str(pair)[:80]}; "
                f"want a short name, at most {LARGEST_NUMBER:g}"
            )


def _plain_number(value: object) -> Value:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, ARRAYS.get(value.dtype.type, ARRAYS[np.int16])).tobytes()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"gave a {type(value).__name__}; want what the contract says")


def _array(kind: type, value: bytes) -> object:
    """`kind`: the annotation, such as NDArray[np.float64]."""
    return np.frombuffer(value, ARRAYS[get_args(get_args(kind)[1])[0]])


def _check_finite(given: object, names: Iterable[str]) -> None:
    for name in names:
        value = getattr(given, name)
        if value is not None and not (abs(value) <= LARGEST_NUMBER and isfinite(value)):
            raise ValueError(
                f"gave a {type(given).__name__} with {name} {value}; want a number below {LARGEST_NUMBER:g}"
            )


def _whole_ns(given: Finding | Phenomenon, name: str) -> int:
    """The time as a plain number; raises TypeError, ValueError. NumPy's integers are not `int`."""
    value: object = getattr(given, name)
    if not isinstance(value, Integral):
        raise TypeError(
            f"gave a {_noun_of(given)} with {name} {value!r}; want a whole number of ns, such as int({name})"
        )
    if not 0 <= int(value) < MAX_NS:
        raise ValueError(f"gave a {_noun_of(given)} with {name} {value}; want 0 to {MAX_NS - 1}")
    return int(value)


def _noun_of(given: object) -> str:
    return type(given).__name__.lower()


def _check_length(given: object, most: Mapping[str, int]) -> None:
    for name, length in most.items():
        text, what = getattr(given, name), f"gave a {type(given).__name__} with {name}"
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{what} {type(text).__name__}; want text")
        if text is not None and len(text) > length:
            raise ValueError(f"{what} of {len(text)} characters; at most {length}")
        if text is not None and UNSHOWN.search(text):
            raise ValueError(f"{what} {text[:80]!r}; want no control characters but new lines and tabs")

"""Steps of one event, from the Measurement that crossed to the incident; pure, from the store's records."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opq_cloud.store.box_record import box_order
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.sample_requests import WAITING
from opq_cloud.view.web.words import class_phrase
from opq_proto.messages import Incident
from opq_proto.time_units import NS_PER_MS


@dataclass(frozen=True, slots=True)
class TracedStep:
    """A step of an event; `t_ns` is UTC, None where it was not recorded."""

    step: str
    t_ns: int | None
    what: str
    box_id: str | None = None


def traced_steps(
    record: EventRecord,
    stored_ns: Mapping[str, int],
    incidents: Iterable[Incident],
    completed_by: Iterable[EventRecord] = (),
) -> list[TracedStep]:
    """All steps by time; a step without a recorded time follows the step that precedes it in the work.

    Args:
        stored_ns: Box -> when the last of its samples was stored.
        incidents: incidents that the event is part of.
        completed_by: events that request more of the same disturbance.
    """
    steps = []
    if record.onset_ns is not None:
        start_ns, end_ns = record.onset_ns
        length_ms = (end_ns - start_ns) / NS_PER_MS
        steps.append(
            TracedStep("measured", end_ns, f"a Measurement over {length_ms:.0f} ms ends", record.opened_by)
        )
    steps.append(TracedStep("decided", record.decided_ns, record.because))
    reasons = ", ".join(f"{reason} {len(boxes)}" for reason, boxes in record.asked_as.items())
    left = sum(record.not_asked.values())
    what = f"{len(record.boxes_triggered)} Boxes asked{f' ({reasons})' if reasons else ''}"
    steps.append(TracedStep("asked", record.decided_ns, what + (f", {left} not" if left else "")))
    seconds = (record.end_ns - record.start_ns) / 1e9
    steps.append(TracedStep("sampled", record.end_ns, f"the last of {seconds:.3g} s that were asked for"))
    answers: list[TracedStep] = []
    for box_id in sorted(record.boxes_received, key=box_order):
        short = record.short.get(box_id)
        what = f"short: {short}" if short else "waveform stored"
        answers.append(TracedStep("stored", stored_ns.get(box_id), what, box_id))
    steps += sorted(answers, key=lambda step: step.t_ns or 0)
    steps += [
        TracedStep("missing", record.finished_ns, why, box_id)
        for box_id, why in sorted(record.missing.items(), key=lambda item: box_order(item[0]))
    ]
    if record.finished:
        steps.append(TracedStep("finished", record.finished_ns, "all have answered, or their time was over"))
    if record.analysed:
        steps.append(TracedStep("analysed", record.analysed_ns, "every analysis has looked at it"))
        for incident in incidents:
            ids = incident.box_ids
            boxes = f"{'Box' if len(ids) == 1 else 'Boxes'} {', '.join(ids)}"
            what = f"incident {incident.incident_id}: {class_phrase(incident.kind)} at {boxes}"
            steps.append(TracedStep("incident", record.analysed_ns, what))
    for request in record.more.values():
        steps.append(TracedStep("wanted", request.requested_ns, f"{request.analysis}: {request.because}"))
        if request.state != WAITING:
            steps.append(TracedStep("answered", request.answered_ns, request.answer_words))
    for later in completed_by:
        steps.append(TracedStep("completed", later.decided_ns, f"event {later.event_id}: {later.because}"))
    return _by_time(steps)


def _by_time(steps: Iterable[TracedStep]) -> list[TracedStep]:
    """Sorts by time: requests of an analysis are collected last, but their samples were stored earlier."""
    placed: list[tuple[int, TracedStep]] = []
    last_ns = 0
    for step in steps:
        last_ns = last_ns if step.t_ns is None else step.t_ns
        placed.append((last_ns, step))
    return [step for _, step in sorted(placed, key=lambda item: item[0])]


def step_rows(record: EventRecord, steps: Iterable[TracedStep]) -> list[dict[str, Any]]:
    """Steps as JSON; `after_ms` counts from the end of the crossing Measurement, else from the decision."""
    zero_ns = record.decided_ns if record.onset_ns is None else record.onset_ns[1]
    return [
        {
            "step": step.step,
            "t_ns": step.t_ns,
            "after_ms": None
            if step.t_ns is None or zero_ns is None
            else round((step.t_ns - zero_ns) / NS_PER_MS, 3),
            "box_id": step.box_id,
            "what": step.what,
        }
        for step in steps
    ]

"""The requests to Boxes: the Boxes of a trigger within the budgets, and one command for each."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai.events.event_requests import new_token, request_identity
from opq_cloud.makai.openings.completions import BOUND
from opq_cloud.makai.openings.request_budget import RequestBudget, bytes_of_half_cycles, bytes_of_span
from opq_cloud.makai.openings.request_span import request_span_ns
from opq_cloud.makai.requested_boxes import RequestedBoxes
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store.box_record import box_order
from opq_proto.decision import Decision, window_ns
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.messages import Measurement, Trigger
from opq_proto.wire.frames import data_command

NO_STAMPS: Mapping[str, tuple[int, int]] = MappingProxyType({})
NO_STARTS: Mapping[str, int] = MappingProxyType({})


class BoxRequests:
    """Belongs to the triggering service's loop. Attributes: `budget`, which growing events share."""

    def __init__(
        self, config: TriggeringServiceSection, instance: str, boxes: BoxRegister, counters: ServiceCounters
    ) -> None:
        self.budget = RequestBudget(config.asking, boxes.now_s)
        self._config, self._instance = config, instance
        self._boxes, self._counters = boxes, counters
        self._limited = RateLimitedLog(log.get(service="triggering-service"))

    def begin(self, send: Callable[[bytes], bool]) -> None:
        """Begins; `send` sends a command to a Box, and returns False where no broker takes it now."""
        self._send = send

    def health(self) -> HealthReport:
        """Always reports ok with the number of Boxes left out, because leaving Boxes out is intended."""
        requested, left = (int(self._counters.total(name)) for name in ("boxes_asked", "boxes_not_asked"))
        info = f"asked {requested} times a Box for {self._counters.total('asked_bytes') / 1e6:.1f} MB"
        by = self._counters.snapshot().get("boxes_not_asked", {})
        if left:
            info += f"; did not ask {left} times: " + ", ".join(
                f"{reason} {int(count)}" for reason, count in sorted(by.items())
            )
        return HealthReport("asking", True, info=info)

    def at_onset(
        self, measurement: Measurement, decision: Decision, pad_ns: int, local: bool = False
    ) -> Trigger | None:
        """Makes the trigger of an onset; None when no budget is left for the Box itself."""
        box_id = measurement.box_id
        reporting = self._boxes.alive(self._config.alive_s)
        requested = self._boxes.places.requested_boxes(box_id, reporting, self._config.asking)
        # another Box's window that holds the same moment lies within one window's length of this one
        start_ns, end_ns = request_span_ns(measurement, decision, self._config, pad_ns, local=local)
        affordable, refused = self.budget.spend(
            (box_id,), requested.box_ids[1:], bytes_of_span(start_ns, end_ns)
        )
        not_asked = Counter({BOUND: requested.left_out}) + refused
        if not affordable:
            self._count_not_asked(not_asked)
            self._note_no_request(box_id, decision)
            return None
        trigger = Trigger(
            token=new_token(),
            start_ns=start_ns,
            end_ns=end_ns,
            box_ids=(),
            opened_by=box_id,
            because=f"Box {box_id}, {decision.because}",
            onset_ns=window_ns(measurement),
            onset_sample=None if measurement.start_ns is None else measurement.first_sample,
        )
        return self._with_boxes(trigger, requested.only(affordable), not_asked)

    def at_end(self, trigger: Trigger, decision: Decision) -> Trigger | None:
        """Returns the trigger of a disturbance that is over, with affordable Boxes; None: there are none."""
        affordable, refused = self.budget.spend(trigger.box_ids, (), _bytes_of(trigger))
        requested = RequestedBoxes(trigger.asked_as).only(affordable)
        trigger = self._with_boxes(trigger, requested, Counter(dict(trigger.not_asked)) + refused)
        if trigger.box_ids:
            return trigger
        self._note_no_request(trigger.opened_by, decision)
        return None

    def affords(self, box_id: str, start_ns: int, end_ns: int) -> bool:
        """Spends the budget of one more Box of an event; False: nothing is left of it."""
        return not self.budget.spend((box_id,), (), bytes_of_span(start_ns, end_ns))[1]

    def _with_boxes(self, trigger: Trigger, requested: RequestedBoxes, not_asked: Counter[str]) -> Trigger:
        self._count_not_asked(not_asked)
        return replace(
            trigger,
            decided_ns=time.time_ns(),
            box_ids=tuple(sorted(requested.box_ids, key=box_order)),
            asked_as=requested.by_reason,
            not_asked=tuple(sorted(not_asked.items())),
            starts=self._boxes.starts.present_of(requested.box_ids),
        )

    def _count_not_asked(self, not_asked: Counter[str]) -> None:
        for reason, count in not_asked.items():
            self._counters.add("boxes_not_asked", count, label=reason)

    def _note_no_request(self, box_id: str, decision: Decision) -> None:
        self._counters.add("decisions_not_asked", label=box_id)
        self._limited.warning("trigger.over_budget", key=box_id, box_id=box_id, because=decision.because)

    def send(
        self,
        box_ids: Sequence[str],
        token: str,
        start_ns: int,
        end_ns: int,
        reasons: Mapping[str, int],
        stamps: Mapping[str, tuple[int, int]] = NO_STAMPS,
        starts: Mapping[str, int] = NO_STARTS,
    ) -> None:
        """Sends a command to each Box; `stamps` name the clocks of those that saw it, in their `starts`."""
        for reason, count in reasons.items():
            self._counters.add("boxes_asked", count, label=reason)
        self._counters.add("asked_bytes", len(box_ids) * bytes_of_span(start_ns, end_ns))
        identity = request_identity(token, self._instance)
        for box_id in box_ids:
            command = data_command(
                box_id, start_ns, end_ns, identity, stamp=stamps.get(box_id), start_id=starts.get(box_id)
            )
            if not self._send(command):
                # the acquisition broker has been absent for long; the event service asks again
                self._counters.add("commands_dropped")

    def count_half_cycles(self, trigger: Trigger) -> None:
        """Counts the half cycles that the event service requests for it."""
        if trigger.half_cycles_ns is not None:
            size = bytes_of_half_cycles(trigger.half_cycles_ns)
            self._counters.add("asked_bytes", len(trigger.box_ids) * size)


def _bytes_of(trigger: Trigger) -> int:
    """Returns the size of a request to one Box: its samples, and the half cycles of a long disturbance."""
    size = bytes_of_span(trigger.start_ns, trigger.end_ns)
    return size if trigger.half_cycles_ns is None else size + bytes_of_half_cycles(trigger.half_cycles_ns)

"""One trigger plug-in of the triggering service: it judges batches, and its exceptions are contained.

A built-in one judges a batch at once; any other is called for each row, here and nowhere else.

A module of this process is a `TriggerPlugin`; an installed one, which may run in a separate process, is an
`InstalledTrigger` and has a share of the service's time.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_plugins.host.failure_guard import BoxGuards
from opq_plugins.sdk.modules import TriggerModule
from opq_plugins.worker_errors import WorkerTimeoutError
from opq_proto.config.settings import configured
from opq_proto.decision import Decision, Nominal
from opq_proto.kit.log import BoundLogger
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement

if TYPE_CHECKING:  # the host comes with the extra "rules"
    from opq_plugins.host.proxy import PluginTrigger

BUILT_IN = Path(__file__).parents[1] / "triggers"
SHOWN_AGAIN_S = 600.0
"""A trigger that failed is shown the last minutes at most this often: that takes the time of all others."""
UNJUDGED_KEPT = 5000
"""Measurements of which it is remembered that one trigger did not judge them."""
TIME_SHARE = 0.3
"""The share of the service's time that an installed trigger may take while others wait for it."""
MAX_S = 20.0
"""Time available at once after a quiet period: the last minutes of many Boxes, shown to one that begins."""

Found = list[tuple[int, Decision]]
"""What a trigger decides on a batch: rows, and the decision on each; a row has one at most."""
Judging = Measurement | Measurements


class RunnableTrigger(Protocol):
    """A module in this process, or an installed one wherever it runs."""

    def decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None: ...
    def forget(self) -> None: ...
    def forget_box(self, box_id: str) -> bool: ...


class TriggerPlugin:
    """One trigger. A crash loses the decision on this Measurement, and pauses it for this Box (`BoxGuards`).

    A call that is ended from outside also loses its memory, until it is shown the past again.
    """

    def __init__(
        self,
        name: str,
        trigger: RunnableTrigger,
        counters: ServiceCounters,
        log: BoundLogger,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._trigger = trigger
        self._settings: Any = trigger.config if isinstance(trigger, TriggerModule) else None
        self._counters = counters
        self._log = log.bind(plugin=name)
        self._guard = BoxGuards(self._crashed)
        self._now = monotonic_s
        self._lost = False
        """Whether it lost its memory by a failure and has not judged since."""
        self._judging: Judging | None = None
        self._unjudged: dict[tuple[object, ...], None] = {}
        """Not shown again: an onset in them has no event, so the next Measurement has to be one."""
        self._shown_s = -SHOWN_AGAIN_S
        self._problems, self._problem = 0, ""
        batches = isinstance(trigger, TriggerModule) and trigger.enters_batches
        self._batches = trigger if isinstance(trigger, TriggerModule) and batches else None
        """The same trigger, where it judges batches."""
        self._limited = RateLimitedLog(self._log, 60.0)

    @property
    def begins(self) -> bool:
        """Whether it has just begun, and has to be shown the last minutes."""
        if not self._forgot():  # checked for each trigger before each Measurement
            return False
        return self._now() - self._shown_s >= SHOWN_AGAIN_S and not self._guard.paused

    def judge(self, columns: Measurements) -> Found:
        """Returns rows with a decision. Counts `not_judged` where it failed or is paused."""
        if self._batches is None:
            decided = ((at, self._decide(columns.row(at), columns.nominal(at))) for at in range(len(columns)))
            return [(at, decision) for at, decision in decided if decision is not None]
        lost, self._lost = self._lost, False
        found, failed = self._judge_batch(self._batches, columns)
        if failed:
            self._not_judged([columns.row(at) for at in failed])
        self._lost |= lost and len(failed) == len(columns)
        return found

    def _judge_batch(self, trigger: TriggerModule, columns: Measurements) -> tuple[Found, Sequence[int]]:
        """Returns rows with a decision, and those that it could not judge."""
        self._judging = columns
        _, answer = self._guard.call_for_all(trigger.judge_guarded, columns, self._guard)
        return ([], range(len(columns))) if answer is None else answer

    def _decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        """Calls it for one row."""
        well, decision = self.call_for(measurement, nominal)
        self._lost &= not well
        if not well:
            self._not_judged([measurement])
        elif isinstance(self._trigger, TriggerModule) and self._trigger.says_problems:
            self._count_row_errors(*self._trigger.problems())
        return decision

    def use_settings(self, settings: Mapping[str, object], boxes: Mapping[str, Mapping[str, float]]) -> None:
        """Applies values over its own settings; `boxes`: limits of single Boxes, for `threshold` alone.

        Raises ValueError with all that is wrong; then nothing has changed.
        """
        if not isinstance(self._trigger, TriggerModule) or self._settings is None:
            return
        config = self._settings
        if settings:
            own = {each.name: getattr(config, each.name) for each in fields(config) if each.init}
            config = configured(type(config), {**own, **settings})
        if boxes:
            config = replace(config, boxes={**config.boxes, **boxes})
        self._trigger.config = config

    def _count_row_errors(self, problems: int, why: str) -> None:
        """Counts row errors. `problems`: since it began; it may have begun again."""
        more = problems - self._problems if problems >= self._problems else problems
        self._problems = problems
        if more:
            self._problem = why
            self._counters.add("row_errors", more, label=self.name)
            self._limited.warning("plugin.row_failed", error=why)

    def note_switched_on(self) -> None:
        """Notes that it has judged nothing for a while: it begins again, with the last minutes."""
        self._lost, self._shown_s = True, -SHOWN_AGAIN_S

    def begin_again(self) -> None:
        """Clears its memory."""
        if self._forgot():
            self._lost, self._shown_s = False, self._now()
        self._guard.call_for_all(self._trigger.forget)

    def forget_box(self, box_id: str) -> None:
        """Forgets a deleted Box. One that can only forget all Boxes is shown the last minutes again."""
        self._unjudged = {key: None for key in self._unjudged if key[0] != box_id}
        self._guard.forget(box_id)
        well, that_box_alone = self._guard.call_for_all(self._trigger.forget_box, box_id)
        if not (well and that_box_alone):
            self.note_switched_on()

    def see_again(self, columns: Measurements) -> Found:
        """Works as `judge` for rows that were judged before; skips those that must not be shown again."""
        hidden = self._unjudged and [_key(row) in self._unjudged for row in columns.rows()]
        left = np.flatnonzero(~np.array(hidden)) if hidden and any(hidden) else None
        shown = columns if left is None else columns.part(left)
        if self._batches is None:
            rows = enumerate(shown.rows())
            found = [
                (at, decision)
                for at, row in rows
                if (decision := self.call_for(row, shown.nominal(at))[1]) is not None
            ]
        else:
            found, _ = self._judge_batch(self._batches, shown)
        return found if left is None else [(int(left[at]), decision) for at, decision in found]

    def health(self) -> HealthReport:
        does = self._trigger.about if isinstance(self._trigger, TriggerModule) else ""
        return HealthReport(f"plugin {self.name}", self._well(), info=self._facts() or does or None)

    def call_for(self, measurement: Measurement, nominal: Nominal) -> tuple[bool, Decision | None]:
        """Calls it; returns whether it answered, and its answer."""
        self._judging = measurement
        return self._guard.call(measurement.box_id, self._trigger.decide, measurement, nominal)

    def _not_judged(self, rows: Sequence[Measurement]) -> None:
        self._counters.add("not_judged", len(rows), label=self.name)
        self._hide(rows)

    def _hide(self, rows: Sequence[Measurement]) -> None:
        self._unjudged |= dict.fromkeys(map(_key, rows))
        while len(self._unjudged) > UNJUDGED_KEPT:
            del self._unjudged[next(iter(self._unjudged))]

    def _forgot(self) -> bool:
        """Returns True if it lost its memory by a failure of its own."""
        return self._lost

    def _well(self) -> bool:
        return not self._guard.paused and not self._guard.paused_boxes()

    def _facts(self) -> str:
        missed = round(self._counters.of("not_judged", self.name))
        crashes = [f"{self._guard.crashes} crashes"] if self._guard.crashes else []
        judged = [f"{missed} measurements not judged"] if missed else []
        failed = round(self._counters.of("row_errors", self.name))
        rows = [f"{failed} rows could not be computed, the last: {self._problem[:200]}"] if failed else []
        boxes = sorted(self._guard.paused_boxes())
        paused = [f"paused for Box {', '.join(boxes[:10])}"] if boxes else []
        return ", ".join(crashes + paused + judged + rows)

    def _crashed(self, error: Exception, pause_s: float, box_id: str | None) -> None:
        self._lost |= box_id is None or isinstance(error, WorkerTimeoutError)  # ended within its work
        if self._judging is not None:
            self._hide([row for row in _rows_of(self._judging) if box_id in (None, row.box_id)])
        self._counters.add("plugin_crashes", label=self.name)
        trace = "".join(traceback.format_exception(error))
        self._limited.error(
            "plugin.crashed",
            key=box_id or "",
            box_id=box_id,
            error=repr(error),
            pause_s=pause_s,
            traceback=trace,
        )


class TimeShare:
    """The time that an installed trigger has left. It recovers as time passes, and fully in idle time.

    The service's loop spends it; any thread may read it.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic_s
        self._had_s, self._spent_at_s = MAX_S, monotonic_s()

    @property
    def left(self) -> bool:
        return self._left_s() > 0

    def spend(self, seconds: float) -> None:
        self._had_s, self._spent_at_s = self._left_s() - seconds, self._now()

    def add_idle(self, seconds: float) -> None:
        """Adds time in which the service was idle."""
        self._had_s, self._spent_at_s = min(MAX_S, self._left_s() + seconds), self._now()

    def _left_s(self) -> float:
        return min(MAX_S, self._had_s + TIME_SHARE * (self._now() - self._spent_at_s))


class InstalledTrigger(TriggerPlugin):
    """A trigger in the plug-in host. Each version begins without the faults of the one before."""

    def __init__(self, trigger: "PluginTrigger", counters: ServiceCounters, log: BoundLogger) -> None:
        super().__init__(trigger.symbol, trigger, counters, log)
        self._installed = trigger
        self._version = trigger.version
        self._share = TimeShare()

    @property
    def begins(self) -> bool:
        there = bool(self._installed.version) and self._installed.up and self._share.left
        return there and (self._installed.begins_again or super().begins)

    def _decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        self._note_version()
        if not self._version:  # being deleted
            return None
        if not self._installed.up:  # one crash is one fault, for any number of Measurements meanwhile
            self._not_judged([measurement])
            return None
        return super()._decide(measurement, nominal)

    def begin_again(self) -> None:
        self._note_version()
        self._installed.begins_again = False
        super().begin_again()

    def note_idle(self, seconds: float) -> None:
        """Adds time in which the service had nothing to do, which the trigger may use."""
        self._share.add_idle(seconds)

    def close(self) -> None:
        self._installed.close()

    def _note_version(self) -> None:
        """Resets the guard for a new version: the old one's faults do not pause it."""
        version = self._installed.version
        if version != self._version:
            self._version, self._guard = version, BoxGuards(self._crashed)
            self._share = TimeShare()

    def call_for(self, measurement: Measurement, nominal: Nominal) -> tuple[bool, Decision | None]:
        if not self._share.left:
            return False, None
        began_s = time.monotonic()
        try:
            return super().call_for(measurement, nominal)
        finally:
            self._share.spend(time.monotonic() - began_s)

    def _forgot(self) -> bool:
        return super()._forgot() or self._installed.forgot

    def _well(self) -> bool:
        return super()._well() and self._installed.up and self._share.left

    def _facts(self) -> str:
        where = "in a separate process" if self._installed.mode == "process" else "in this process"
        facts = super()._facts()
        slow = "" if self._share.left else f", too slow: it has {TIME_SHARE:.0%} of the time"
        return f"{self._installed.version}, {where}{slow}{', ' + facts if facts else ''}"


def _rows_of(judging: Judging) -> Sequence[Measurement]:
    return (judging,) if isinstance(judging, Measurement) else judging.rows()


def _key(measurement: Measurement) -> tuple[object, ...]:
    return measurement.box_id, measurement.timestamp_ms, measurement.start_ns, measurement.crossing

"""Pauses after failures: of a trigger that raises, and of a trigger or function whose process fails.

What fails for the rows of one Box is paused for that Box alone (`BoxGuards`, `RuleCircuits`), so that one Box
stops nothing for the others.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from opq_plugins.worker_errors import NOT_CALLED
from opq_proto.kit.backoff import Backoff

PAUSES_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Pause after the first, second, ... failure in a row; the last one repeats."""
STEADY_S = 60.0
"""After this time without a crash, the pauses start from the first again."""
MANY_BOXES = 5
"""Boxes for whose rows a plug-in fails within STEADY_S until it counts as failing for all."""
BOXES_KEPT = 1000
"""Boxes whose failures are remembered."""
CIRCUITS_KEPT = 1000
"""Circuits that a function remembers, of its rules and their Boxes."""
Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")


class CrashGuard:
    """Catches and counts what one plug-in's calls raise; `on_crash(error, pause_s)` is called each time."""

    def __init__(
        self, on_crash: Callable[[Exception, float], None], monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.crashes = 0
        self.skipped = 0
        """Calls not made because the plug-in is paused."""
        self._on_crash = on_crash
        self._now = monotonic_s
        self._backoff = Backoff(PAUSES_S, steady_s=STEADY_S)
        self._paused_until_s = self._last_crash_s = float("-inf")

    @property
    def paused(self) -> bool:
        return self._now() < self._paused_until_s

    @property
    def is_steady(self) -> bool:
        """Whether the last crash was long ago."""
        return self._now() - self._last_crash_s > STEADY_S

    def call(
        self, function: Callable[Arguments, Answer], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> tuple[bool, Answer | None]:
        """Returns (True, the result of `function`), or (False, None) if it crashed or is paused."""
        if self.crashes and self.paused:
            self.skipped += 1
            return False, None
        try:
            return True, function(*arguments, **named)
        except Exception as error:  # foreign code
            self.record_crash(error)
            return False, None

    def record_crash(self, error: Exception) -> None:
        """Records an exception of a call that was made without `call`."""
        self.crashes += 1
        now_s = self._now()
        pause_s = self._backoff.record_failure(now_s - self._last_crash_s)
        self._last_crash_s, self._paused_until_s = now_s, now_s + pause_s
        self._on_crash(error, pause_s)


class BoxGuards:
    """Catches what calls of one plug-in raise, and pauses it for the Box whose row caused that.

    A row whose call ends the process or hangs causes it too. It is paused for all Boxes where it fails for
    MANY_BOXES of them, and where its process does not begin or cannot be reached (NOT_CALLED).
    `on_crash(error, pause_s, box_id)` is called each time; box_id is None where it is paused for all.
    """

    def __init__(
        self,
        on_crash: Callable[[Exception, float, str | None], None],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.crashes = 0
        self._on_crash, self._now = on_crash, monotonic_s
        self._all = CrashGuard(lambda error, pause_s: on_crash(error, pause_s, None), monotonic_s)
        self._boxes: dict[str, CrashGuard] = {}

    @property
    def paused(self) -> bool:
        """Whether it is paused for all Boxes."""
        return self._all.paused

    def paused_boxes(self) -> set[str]:
        """Returns the Boxes for which alone it is paused."""
        return {box_id for box_id, guard in list(self._boxes.items()) if guard.paused}

    def forget(self, box_id: str) -> None:
        """Forgets the crashes of a deleted Box."""
        self._boxes.pop(box_id, None)

    def call(
        self,
        box_id: str,
        function: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> tuple[bool, Answer | None]:
        """Calls for a row of one Box; (True, the result), or (False, None) if it crashed or is paused."""
        guard = self._boxes.get(box_id)
        if self._all.paused or (guard is not None and guard.paused):
            return False, None
        try:
            return True, function(*arguments, **named)
        except NOT_CALLED as error:
            self._record_whole(error)
        except Exception as error:  # foreign code
            self.record(box_id, error)
        return False, None

    def call_for_all(
        self, function: Callable[Arguments, Answer], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> tuple[bool, Answer | None]:
        """Calls for all Boxes together; what this raises pauses it for all."""
        before = self._all.crashes
        answer = self._all.call(function, *arguments, **named)
        self.crashes += self._all.crashes - before
        return answer

    def record(self, box_id: str, error: Exception) -> None:
        """Records what a call for a row of this Box raised."""
        if box_id not in self._boxes:
            while len(self._boxes) >= BOXES_KEPT:
                del self._boxes[next(iter(self._boxes))]
            self._boxes[box_id] = CrashGuard(
                lambda error, pause_s: self._on_crash(error, pause_s, box_id), self._now
            )
        self.crashes += 1
        self._boxes[box_id].record_crash(error)
        if sum(not guard.is_steady for guard in self._boxes.values()) >= MANY_BOXES:
            self._boxes.clear()
            self._record_whole(error)

    def _record_whole(self, error: Exception) -> None:
        self.crashes += 1
        self._all.record_crash(error)


class Circuit:
    """After the second failure in a row calls fail at once, for longer each time. Then one call may try.

    It protects the engine's thread, because each failing call may take a second in which all rules stop.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.refused = 0
        """Calls that failed at once."""
        self.failed_s = float("-inf")
        """When the last call failed (monotonic)."""
        self._now = monotonic_s
        self._backoff = Backoff(PAUSES_S)
        self._until_s = 0.0

    @property
    def tripped(self) -> bool:
        """Whether the next failure refuses calls again; a call should then not wait for a new process."""
        return self._backoff.failures >= 2

    def wait_s(self) -> float:
        """How long calls still fail at once; 0.0: one may be made. Counts the refused calls."""
        left_s = self._until_s - self._now() if self.tripped else 0.0
        self.refused += left_s > 0
        return max(0.0, left_s)

    def record_success(self) -> None:
        self._backoff.record_success()

    def record_failure(self) -> None:
        self.failed_s = self._now()
        self._until_s = self.failed_s + self._backoff.record_failure()


class RuleCircuits:
    """Circuits of one function, for the Boxes of its rules whose last call failed.

    A rule is paused as a whole where its calls fail for MANY_BOXES Boxes within STEADY_S, or for rows that
    are of no Box or of several (`box` is empty).
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic_s
        self._failed: OrderedDict[tuple[str, str], Circuit] = OrderedDict()
        """By rule and Box; the rule as a whole has no Box."""

    def wait_s(self, rule_id: str, box: str) -> float:
        """How long calls for this Box's rows still fail at once; 0.0: one may be made."""
        return max((circuit.wait_s() for circuit in self._of(rule_id, box)), default=0.0)

    def tripped(self, rule_id: str, box: str) -> bool:
        """Whether the next failure refuses calls again; a call should then not wait for a new process."""
        return any(circuit.tripped for circuit in self._of(rule_id, box))

    def record_success(self, rule_id: str, box: str) -> None:
        self._failed.pop((rule_id, box), None)
        if (rule_id, "") in self._failed and self._failing_boxes(rule_id) < MANY_BOXES:
            del self._failed[rule_id, ""]

    def record_failure(self, rule_id: str, box: str) -> None:
        self._record(rule_id, box)
        if box and self._failing_boxes(rule_id) >= MANY_BOXES:
            self._record(rule_id, "")

    def _of(self, rule_id: str, box: str) -> list[Circuit]:
        return [self._failed[key] for key in {(rule_id, ""), (rule_id, box)} if key in self._failed]

    def _record(self, rule_id: str, box: str) -> None:
        key = rule_id, box
        self._failed.setdefault(key, Circuit(self._now)).record_failure()
        self._failed.move_to_end(key)
        if len(self._failed) > CIRCUITS_KEPT:
            self._failed.popitem(last=False)

    def _failing_boxes(self, rule_id: str) -> int:
        since_s = self._now() - STEADY_S
        return sum(
            bool(box) and rule == rule_id and circuit.failed_s >= since_s
            for (rule, box), circuit in self._failed.items()
        )

"""State and filters of the original's simulator, and the samples that follow from them:
docs/reference/opq-interop.md F.7.

Its faults are reproduced: `phase` is ignored and the sample index wraps at 200, so that any frequency but a
multiple of 60 Hz jumps in phase with every frame; a value is accepted only if its JSON type is that of the
current one, so that 50 for 60.0 changes nothing. The reference does not say what happens to filters that
arrive while others run: here they wait.
"""

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_SAMPLES = 200
COUNTS_PER_VOLT = 152.0
MAX_FILTERS = 10_000
MAX_DELAY_SAMPLES = 10**9
VRMS = "vrms"
"""Filter that moves the voltage to `target_vrms` within its delay."""
NOP = "nop"
"""Filter that changes nothing for its delay."""


class OriginalSimError(ValueError):
    """A request that cannot be carried out; nothing was changed."""


@dataclass(frozen=True, slots=True)
class SimFilter:
    """A ramp to `target_vrms`, or a pause (None), over `delay_samples`."""

    target_vrms: float | None
    delay_samples: int


class OriginalSim:
    """One simulator; not for several threads at once.

    Attributes:
        state: with the original's names.
        ignored: values that were not accepted, by key: another type, or an unknown key.
    """

    def __init__(self) -> None:
        self.state: dict[str, float] = {
            "amplitude": 169.7056,
            "frequency": 60.0,
            "phase": 0.0,
            "sample_rate_hz": 12000.0,
        }
        self.ignored: Counter[str] = Counter()
        self._waiting: deque[SimFilter] = deque()
        self._repeated: tuple[SimFilter, ...] = ()
        self._done = 0
        """Finished samples of the first waiting filter."""
        self._from_amplitude = self.state["amplitude"]

    def accept_request(self, request: object) -> None:
        """Handles a POST: `state`, `filters` with `does_repeat`, `reset`; first the reset, the filters last.

        Raises:
            OriginalSimError: it or a filter is not an object; nothing was changed.
        """
        if not isinstance(request, dict):
            raise OriginalSimError("want a JSON object with state, filters or reset")
        filters = _filters(request["filters"]) if "filters" in request else None
        if request.get("reset") is True:
            self._waiting.clear()
            self._repeated = ()
            self._begin()
        state = request.get("state")
        if isinstance(state, dict):
            self._take_state(state)
        if filters is not None:
            was_idle = not self._waiting
            self._repeated = tuple(filters) if request.get("does_repeat") is True else ()
            self._waiting.extend(filters)
            if was_idle:
                self._begin()

    def frame(self) -> NDArray[np.int16]:
        """(200,) counts of the next frame."""
        index = np.arange(FRAME_SAMPLES)  # wraps here: every frame begins at index 0
        turn = 2 * math.pi * self.state["frequency"] * index / self.state["sample_rate_hz"]
        with np.errstate(invalid="ignore", over="ignore"):  # any number is accepted, as in the original
            volts = np.nan_to_num(self._amplitudes() * np.sin(turn), nan=0.0)
            counts = np.clip(np.rint(volts * COUNTS_PER_VOLT), -32768, 32767)
        return np.asarray(counts, dtype=np.int16)

    def _take_state(self, state: Mapping[str, Any]) -> None:
        for key, value in state.items():
            if key not in self.state or type(value) is not float or not math.isfinite(value):
                self.ignored[str(key)[:40]] += 1
            elif key == "sample_rate_hz" and value <= 0:
                self.ignored[key] += 1  # the original would divide by it
            else:
                self.state[key] = value

    def _begin(self) -> None:
        """Loads the first waiting filter: its ramp begins at the present amplitude."""
        self._done = 0
        self._from_amplitude = self.state["amplitude"]

    def _amplitudes(self) -> NDArray[np.float64]:
        """(200,) amplitudes, one per sample; advances the filters."""
        made = np.empty(FRAME_SAMPLES)
        at, idle = 0, 0
        while at < FRAME_SAMPLES:
            if not self._waiting:
                if not self._repeated or idle > len(self._repeated):
                    made[at:] = self.state["amplitude"]
                    break
                self._waiting.extend(self._repeated)
                self._begin()
            one = self._waiting[0]
            count = min(one.delay_samples - self._done, FRAME_SAMPLES - at)
            idle = idle + 1 if count == 0 else 0  # a round of filters without length ends the frame
            if one.target_vrms is None:
                made[at : at + count] = self.state["amplitude"]
            else:
                target = one.target_vrms * math.sqrt(2)
                share = (self._done + 1 + np.arange(count)) / max(1, one.delay_samples)
                made[at : at + count] = self._from_amplitude + (target - self._from_amplitude) * share
                self.state["amplitude"] = float(made[at + count - 1]) if count else self.state["amplitude"]
            at += count
            self._done += count
            if self._done >= one.delay_samples:
                if one.target_vrms is not None:
                    self.state["amplitude"] = one.target_vrms * math.sqrt(2)
                self._waiting.popleft()
                self._begin()
        return made


def _filters(filters: object) -> list[SimFilter]:
    if not isinstance(filters, list) or len(filters) > MAX_FILTERS:
        raise OriginalSimError(f"filters: want an array of at most {MAX_FILTERS}")
    found = []
    for number, one in enumerate(filters):
        if not isinstance(one, dict) or one.get("name") not in (VRMS, NOP):
            raise OriginalSimError(f"filters[{number}]: want an object with the name {VRMS} or {NOP}")
        delay = one.get("delay_samples")
        if isinstance(delay, bool) or not isinstance(delay, int) or not 0 <= delay <= MAX_DELAY_SAMPLES:
            raise OriginalSimError(
                f"filters[{number}]: delay_samples is {delay!r:.40}; want a whole number from 0 to "
                f"{MAX_DELAY_SAMPLES}"
            )
        target = one.get("target_vrms") if one["name"] == VRMS else None
        if one["name"] == VRMS and (
            isinstance(target, bool)
            or not isinstance(target, int | float)
            or not abs(target) <= 1e6  # also rejects what is not a number
        ):
            raise OriginalSimError(f"filters[{number}]: target_vrms is {target!r:.40}; want volts")
        found.append(SimFilter(None if target is None else float(target), delay))
    return found

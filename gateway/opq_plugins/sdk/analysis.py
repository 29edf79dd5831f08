"""A loaded analysis: the one adapter between a pure `analyse()` and whoever runs it.

Live, by hand, over stored history: the call is `Analysis.look`. It gives the analysis the
nominal values of the Boxes, keeps the state of one with memory, and lets only findings through.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from opq_proto.decision import Nominal
from opq_proto.messages import Event, Finding

DEFAULT_NOMINAL = Nominal(120.0, 60.0)


@dataclass(frozen=True, slots=True)
class Analysis:
    """A pure analysis with its settings (house.md, "An analysis")."""

    name: str
    analyse: Callable[..., Any]
    config: Any
    fixed: frozenset[str] = frozenset()
    """Fields of `config` that its user set: a Box's own nominal values do not replace them."""
    begin: Callable[[Any], Any] | None = None
    """Of an analysis with memory: its first state."""

    @property
    def rest_s(self) -> float:
        """It may always be asked."""
        return 0.0

    @property
    def alone(self) -> bool:
        """Whether it may be asked of one Box of an event: for one with memory that is an event more."""
        return self.begin is None

    def for_nominal(self, nominal: Nominal) -> Any:
        """Its Config for Boxes of these nominal values, where it has such fields."""
        known = {item.name for item in fields(self.config)} - self.fixed
        values = {"nominal_v": nominal.volts, "nominal_hz": nominal.hz}
        return replace(self.config, **{name: value for name, value in values.items() if name in known})

    def look(self, event: Event, nominal: Nominal, states: dict[Any, Any]) -> tuple[Finding, ...]:
        """Its findings in `event`; the state of one with memory is kept in `states`, per nominal.

        Raises whatever the analysis raises, and TypeError or ValueError when what it gives are no
        findings of this event.
        """
        config = self.for_nominal(nominal)
        if self.begin is None:
            return checked(self.analyse(event, config), event)
        key = (self.name, nominal)
        state = states[key] if key in states else self.begin(config)
        findings, state = self.analyse(event, config, state)
        found = checked(findings, event)
        states[key] = state
        return found


def checked(findings: Any, event: Event) -> tuple[Finding, ...]:
    """Findings of Boxes of this event, none ending before its start. Raises TypeError or ValueError."""
    found = tuple(findings)
    boxes = {wave.box_id for wave in event.waveforms}
    for one in found:
        if not isinstance(one, Finding):
            raise TypeError(f"it gave a {type(one).__name__}; want Finding")
        if one.box_id not in boxes:
            raise ValueError(f"it gave a finding of Box {one.box_id!r}, which has no waveform in the event")
        if one.start_ns > one.end_ns:
            raise ValueError(f"it gave a finding that ends {one.start_ns - one.end_ns} ns before its start")
    return found

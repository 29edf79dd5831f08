"""Triggers and analyses whose other half is in a worker. What it sends back is checked before it is believed.

After a crash each is made anew by its next call, with its settings and without memory.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from opq_plugins.host.remote import Remote
from opq_plugins.sdk.analysis import checked
from opq_plugins.sdk.nouns import (
    checked_decision,
    checked_findings,
    plain_event,
    plain_measurement,
    plain_nominal,
)
from opq_proto.decision import Decision, Nominal
from opq_proto.messages import Event, Finding, Measurement

DECIDE_S = 2.0
"""Longest call of a trigger: Makai's loop stands still meanwhile."""
BEGIN_S = 5.0
"""For a trigger's `Config` and `begin`, at its installation and at Makai's start."""


class RemoteTrigger(Remote):
    kind = "trigger"

    def configure(self, settings: Mapping[str, Any]) -> None:
        self._properties = dict(settings)
        self._make_first()

    def decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        """Raises OSError: its process is gone, or was ended since it took longer than `DECIDE_S`."""
        body = [plain_measurement(measurement), plain_nominal(nominal)]
        return _decision(self._call("decide", body, self._remake_s))

    def forget(self) -> None:
        self._call("forget", None, self._remake_s)

    def export_state(self) -> Any:
        return self._call("export_state", None, self._remake_s)

    def take_state(self, version: str, state: Any) -> bool:
        return self._call("take_state", [version, state], self._remake_s) is True

    @property
    def up(self) -> bool:
        """Whether its process is there, or is just being started again."""
        try:
            self._process.life()
        except ConnectionError:
            return False
        return True

    @property
    def forgot(self) -> bool:
        """Its process is another one than when it was asked last; the next call makes it anew."""
        try:
            return self._process.life() is not self._life is not None
        except ConnectionError:
            return False

    @property
    def _begin_s(self) -> float:
        return min(BEGIN_S, self._process.limits.start_s)

    @property
    def _remake_s(self) -> float:
        return min(DECIDE_S, self._process.limits.call_s)


class RemoteAnalysis(Remote):
    kind = "analysis"

    def configure(self, settings: Mapping[str, Any]) -> None:
        self._properties = dict(settings)
        self._make_first()

    def analyse(self, event: Event, nominal_v: float, nominal_hz: float) -> tuple[Finding, ...]:
        """Raises OSError: its process is gone, or was ended since it took longer than `call_s`."""
        found = _findings(self._call("analyse", [plain_event(event), nominal_v, nominal_hz]))
        return checked(found, event)

    def alone(self) -> bool:
        return self._call("alone", None) is True

    def take_state(self, version: str, state: Any) -> bool:
        return self._call("take_state", [version, state]) is True


JUDGING: dict[str, type[Remote]] = {"trigger": RemoteTrigger, "analysis": RemoteAnalysis}


def _decision(plain: Any) -> Decision | None:
    """Raises ValueError: none, or one with a field out of its bounds."""
    try:
        return checked_decision(None if plain is None else msgspec.convert(plain, Decision))
    except msgspec.ValidationError as error:
        raise ValueError(f"gave no Decision: {error}") from None


def _findings(plain: Any) -> tuple[Finding, ...]:
    """Raises ValueError: none, too many, or one with a field out of its bounds."""
    try:
        return checked_findings(msgspec.convert(plain, list[Finding]))
    except msgspec.ValidationError as error:
        raise ValueError(f"gave no Findings: {error}") from None

"""A trigger's module with its settings and what it remembers; the same in the service and in a worker.

name, Config, begin(config) -> state
decide(measurement, nominal, config, state) -> (Decision or None, state)
export_state(state) -> what JSON has; import_state(version, data, config) -> state     both or none
problems(state) -> (how many things it could not judge so far, the last reason)        optional
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from opq_plugins.sdk.nouns import checked_decision, measurement_of, plain_decision
from opq_proto.decision import Decision, Nominal
from opq_proto.messages import Measurement
from opq_proto.settings import configured


class TriggerModule:
    """What it raises costs it its memory: it begins anew with the next Measurement."""

    def __init__(self, module: ModuleType, config: Any = None) -> None:
        self._module = module
        self._config = config
        self._state: Any = None
        self._begun = False

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Raises ValueError with all that is wrong; whatever its `begin` raises."""
        self._config = configured(self._module.Config, settings)
        self._begin()

    def decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        if not self._begun:
            self._begin()
        self._begun = False
        decision, state = self._module.decide(measurement, nominal, self._config, self._state)
        checked = checked_decision(decision)
        self._state, self._begun = state, True
        return checked

    def forget(self) -> None:
        """Begin anew with the next Measurement."""
        self._begun = False

    def problems(self) -> tuple[int, str]:
        """What it could not judge without failing, since it began; (0, "") where it does not tell."""
        tell = getattr(self._module, "problems", None)
        count, why = (0, "") if tell is None or not self._begun else tell(self._state)
        return int(count), str(why)

    def export_state(self) -> Any:
        """None: it hands nothing on."""
        give = getattr(self._module, "export_state", None)
        return give(self._state) if give is not None and self._begun else None

    def take_state(self, version: str, data: Any) -> bool:
        """False: it takes nothing over."""
        take = getattr(self._module, "import_state", None)
        if take is None:
            return False
        self._state, self._begun = take(version, data, self._config), True
        return True

    def selftest(self) -> str:
        return str(self._module.selftest() or "") if hasattr(self._module, "selftest") else ""

    def release(self) -> None:
        """It holds nothing open."""

    # -- in a worker

    def decide_plain(self, body: Any) -> Any:
        """[measurement, [volts, hertz]], plain; its answer likewise."""
        return plain_decision(self.decide(measurement_of(body[0]), Nominal(*body[1])))

    def _begin(self) -> None:
        self._state = self._module.begin(self._config)
        self._begun = True

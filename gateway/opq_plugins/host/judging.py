"""What Makai and Mauka hold of installed triggers and analyses; insides are exchanged between calls."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opq_plugins.host.proxy import Proxy
from opq_proto.errors import OpqError, PluginError

if TYPE_CHECKING:  # NumPy comes with them; a host of sinks and functions needs none
    from opq_proto.decision import Decision, Nominal
    from opq_proto.messages import Event, Finding, Measurement


class Judging(Proxy):
    """What the two have in common.

    `named_by`: whose configuration names it; it is not deleted without force then.
    `anew`: an inside has taken over that knows nothing of what came before; who has seen to that clears it.
    """

    named_by = ""
    anew = False

    @property
    def rule_id(self) -> str:
        return self.named_by

    @property
    def mode(self) -> str:
        """process or inproc; "" when it was deleted."""
        return "" if self._runtime is None else self._runtime.mode

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Raises ValueError: settings that it does not take; PluginError, OSError: it does not start."""
        with self._lock:
            live = self._ready()
            assert self._runtime is not None
            try:
                self._configure(live, self._runtime.filled(self.kind, self.symbol, settings))
            except (OpqError, ValueError, OSError):
                raise
            except Exception as error:  # foreign code
                what = f"{self.kind} {self.symbol!r}: {type(error).__name__}: {error}"
                raise PluginError(what) from error
            self._properties, self._configured, self.anew = dict(settings), True, True

    def close(self) -> None:
        with self._lock:
            live, self._live = self._live, None
            self.closed, self._runtime = True, None
        self.release(live)

    def _hand_over(self, old: Any, new: Any) -> None:
        self.anew = True
        if old is None or new is None:
            return
        try:
            state = old.export_state()
        except OSError:  # the old one is dead
            return
        if state is not None:
            self.anew = not new.take_state(self.version, state)

    def _asked(self, method: str, *arguments: Any) -> Any:
        with self._lock:
            try:
                answer = getattr(self._ready(), method)(*arguments)
            except OSError:
                raise  # its process tells of that itself
            except Exception:
                self._on_result(True)
                raise
        self._on_result(False)
        return answer


class PluginTrigger(Judging):
    kind = "trigger"

    @property
    def up(self) -> bool:
        """False while its process is started again: it cannot be asked."""
        return bool(getattr(self._live, "up", True))

    @property
    def forgot(self) -> bool:
        """Its process is another one than that which has judged before: it remembers nothing."""
        return bool(getattr(self._live, "forgot", False))

    def decide(self, measurement: "Measurement", nominal: "Nominal") -> "Decision | None":
        """Raises whatever it raises; OSError: its process is gone, or takes too long."""
        decision: Decision | None = self._asked("decide", measurement, nominal)
        return decision

    def forget(self) -> None:
        """Begin anew with the next Measurement."""
        with self._lock:
            self._ready().forget()


class PluginAnalysis(Judging):
    kind = "analysis"

    def analyse(self, event: "Event", nominal_v: float, nominal_hz: float) -> "tuple[Finding, ...]":
        """Raises whatever it raises; OSError: its process is gone, or takes too long."""
        findings: tuple[Finding, ...] = self._asked("analyse", event, nominal_v, nominal_hz)
        return findings

    def alone(self) -> bool:
        """Whether it may be asked of one Box of an event: it has no memory. OSError: its process is gone."""
        with self._lock:
            return bool(self._ready().alone())

"""Options of a rule, checked all at once.

Names and defaults as eKuiper's (reference/rules.md, C.2). Options that we read and that change nothing
here are in `IDLE`: rules written for eKuiper are taken as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import msgspec

from opq_proto.settings import checked_config
from opq_rules.batch import JsonObject
from opq_rules.engine.schedule import RuleSchedule
from opq_rules.errors import RULE, RuleError


@dataclass(frozen=True, slots=True)
class RestartStrategy:
    """`attempts` in a row, 0: none; the waits grow by `multiplier` up to `maxDelay`, each +- jitterFactor."""

    attempts: int = field(default=0, metadata={"minimum": 0, "maximum": 1_000_000})
    delay: int = field(default=1000, metadata={"minimum": 1, "maximum": 86_400_000, "ms": True})
    multiplier: float = field(default=2.0, metadata={"minimum": 1.0, "maximum": 100.0})
    maxDelay: int = field(default=30_000, metadata={"minimum": 1, "maximum": 86_400_000, "ms": True})
    jitterFactor: float = field(default=0.1, metadata={"minimum": 0.0, "maximum": 0.99})

    def wait_ms(self, failed: int, random: Callable[[], float]) -> float:
        """After `failed` failures in a row (from 1); `random` gives 0 .. 1."""
        grown = self.delay * self.multiplier ** min(failed - 1, 64)
        return min(grown, float(self.maxDelay)) * (1 + self.jitterFactor * (2 * random() - 1))


IDLE = ("concurrency", "debug", "logFilename", "enableRuleTracer", "notifySub", "forceExitTimeout",
        "enableSaveStateBeforeStop", "planOptimizeStrategy")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """Times in ms. `idleTimeout` (ours): a stream silent for so long holds no watermark back; 0: it does."""

    isEventTime: bool = False
    lateTolerance: int = field(default=1000, metadata={"ms": True})
    bufferLength: int = field(default=1024, metadata={"minimum": 1, "maximum": 10_000_000})
    disableBufferFullDiscard: bool = False
    sendMetaToSink: bool = False
    sendError: bool = False
    sendNilField: bool = False
    sendEmptyWindow: bool = False  # ours: tumbling and hopping windows without a record are sent as []
    qos: Literal[0, 1, 2] = 0
    checkpointInterval: int = field(default=300_000, metadata={"ms": True})
    idleTimeout: int = field(default=0, metadata={"ms": True})
    restartStrategy: RestartStrategy = field(default_factory=RestartStrategy)
    schedule: RuleSchedule | None = None

    def for_query(self) -> JsonObject:
        """What changes what a query gives: rules that agree in it can share one."""
        names = ("isEventTime", "lateTolerance", "idleTimeout", "sendMetaToSink", "sendError", "sendNilField",
                 "sendEmptyWindow")  # fmt: skip
        return {name: getattr(self, name) for name in names}


def options(given: Mapping[str, object] | None) -> Options:
    """The options, one object for all rules that say the same.

    Raises RuleError 400 with every problem.
    """
    return _options(msgspec.json.encode(given or {}))


@lru_cache(maxsize=4096)
def _options(text: bytes) -> Options:
    given: JsonObject = msgspec.json.decode(text)
    if not isinstance(given, dict):
        raise RuleError("options: want an object", RULE)
    values = {key: value for key, value in given.items() if key not in IDLE}
    problems: list[str] = []
    restart = values.pop("restartStrategy", None) or {}
    if not isinstance(restart, dict):
        restart, problems = {}, [*problems, "restartStrategy  want an object"]
    read_restart, wrong = checked_config(RestartStrategy, restart)
    problems += [f"restartStrategy.{each}" for each in wrong]
    try:
        schedule = RuleSchedule.of(
            values.pop("cron", None), values.pop("duration", None), values.pop("cronDatetimeRange", None)
        )
    except ValueError as error:
        schedule, problems = None, [*problems, str(error)]
    problems += ["schedule  unknown key; it has cron, duration, cronDatetimeRange"] * ("schedule" in values)
    values.pop("schedule", None)
    read, wrong = checked_config(Options, values)
    problems += [each.replace("schedule", "cron, duration, cronDatetimeRange") for each in wrong]
    if problems:
        raise RuleError("options: " + "; ".join(problems), RULE)
    assert read is not None and read_restart is not None
    return replace(read, restartStrategy=read_restart, schedule=schedule)

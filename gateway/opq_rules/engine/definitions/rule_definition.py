"""A rule as users write it, checked: `{"id", "sql", "actions", "options", "triggered", ...}`; and ids.

Options have eKuiper's names and defaults (docs/reference/rules.md, C.2). Options that are accepted but have
no effect here are in `IDLE`, so that rules written for eKuiper can be used unchanged.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import msgspec

from opq_proto.config.settings import checked_config
from opq_rules.engine.definitions.schedule import RuleSchedule
from opq_rules.errors import NOT_FOUND, RULE, UNDEFINED, RuleError
from opq_rules.values.batch import JsonObject


@dataclass(frozen=True, slots=True)
class RestartStrategy:
    """Up to `attempts` in a row (0: none); waits grow by `multiplier` to `maxDelay`, +- jitterFactor."""

    attempts: int = field(default=0, metadata={"minimum": 0, "maximum": 1_000_000})
    delay: int = field(default=1000, metadata={"minimum": 1, "maximum": 86_400_000, "ms": True})
    multiplier: float = field(default=2.0, metadata={"minimum": 1.0, "maximum": 100.0})
    maxDelay: int = field(default=30_000, metadata={"minimum": 1, "maximum": 86_400_000, "ms": True})
    jitterFactor: float = field(default=0.1, metadata={"minimum": 0.0, "maximum": 0.99})

    def wait_ms(self, failed: int, random: Callable[[], float]) -> float:
        """The wait after `failed` failures in a row (from 1); `random` gives 0 .. 1."""
        grown = self.delay * self.multiplier ** min(failed - 1, 64)
        return min(grown, float(self.maxDelay)) * (1 + self.jitterFactor * (2 * random() - 1))


IDLE = (
    "concurrency",
    "debug",
    "logFilename",
    "enableRuleTracer",
    "notifySub",
    "forceExitTimeout",
    "enableSaveStateBeforeStop",
    "planOptimizeStrategy",
)


@dataclass(frozen=True, slots=True)
class Options:
    """Times in ms. `idleTimeout` (ours): a stream that is silent for this long does not hold the watermark
    any more."""

    isEventTime: bool = False
    lateTolerance: int = field(default=1000, metadata={"ms": True})
    bufferLength: int = field(default=1024, metadata={"minimum": 1, "maximum": 10_000_000})
    disableBufferFullDiscard: bool = False
    sendMetaToSink: bool = False
    sendError: bool = False
    sendNilField: bool = False
    # not in eKuiper: tumbling and hopping windows without a record are sent as []
    sendEmptyWindow: bool = False
    qos: Literal[0, 1, 2] = 0
    checkpointInterval: int = field(default=300_000, metadata={"ms": True})
    idleTimeout: int = field(default=0, metadata={"ms": True})
    restartStrategy: RestartStrategy = field(default_factory=RestartStrategy)
    schedule: RuleSchedule | None = None

    def for_query(self) -> JsonObject:
        """The options that affect a query's result: rules that agree in them can share one query."""
        names = (
            "isEventTime",
            "lateTolerance",
            "idleTimeout",
            "sendMetaToSink",
            "sendError",
            "sendNilField",
            "sendEmptyWindow",
        )
        return {name: getattr(self, name) for name in names}


def options(given: Mapping[str, object] | None) -> Options:
    """The options; equal ones are the same object. Raises RuleError 400 with every problem."""
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


MAX_NAME_CHARS = 128
_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME_CHARS}}}", re.ASCII)


def checked_id(what: str, name: object, code: int = UNDEFINED) -> str:
    """Returns `name`; raises RuleError 400 where it is not a valid id."""
    if isinstance(name, str) and _ID.fullmatch(name):
        return name
    wanted = f"want 1 to {MAX_NAME_CHARS} letters, digits, '_' or '-'"
    raise RuleError(f"{what} id {str(name)[:MAX_NAME_CHARS]!r} cannot be used: {wanted}", code)


@dataclass(frozen=True, slots=True)
class Action:
    """A sink's type and the rule's properties for it, as sorted JSON: rules with equal ones share it."""

    type: str
    properties_json: str

    @property
    def properties(self) -> JsonObject:
        read: JsonObject = msgspec.json.decode(self.properties_json)
        return read

    @property
    def resource(self) -> str:
        """Name of the set of properties that it refers to; "" if it refers to no set."""
        name = self.properties.get("resourceId")
        return name if isinstance(name, str) else ""


@dataclass(frozen=True, slots=True)
class RuleDefinition:
    """A checked rule. `text`: the JSON as it is stored and shown (GET /rules/{id}), with the id in it."""

    id: str
    sql: str
    actions: tuple[Action, ...]
    options: Options
    triggered: bool
    tags: tuple[str, ...]
    temporary: bool
    version: str
    name: str
    text: str


def definition(body: object, path_id: str | None = None) -> RuleDefinition:
    """Reads a rule. Raises RuleError 400 for the first part that is wrong."""
    if not isinstance(body, Mapping):
        raise RuleError("a rule is an object: id, sql, actions", RULE)
    try:
        msgspec.json.encode(body)
    except (OverflowError, RecursionError, TypeError, ValueError) as error:
        raise RuleError(f"a rule is JSON with whole numbers of 64 bits: {error}", RULE) from error
    if path_id is None and "id" not in body:
        raise RuleError("the rule has no id; give it one, such as low_voltage", RULE)
    rule_id = checked_id("rule", body.get("id", path_id), RULE)
    if path_id is not None and rule_id != path_id:
        raise RuleError(f"the path says rule {path_id!r}, the body {rule_id!r}", RULE)

    def wrong(key: str, wanted: str) -> RuleError:
        found = f"is {str(body[key])[:60]!r}" if key in body else "is missing"
        return RuleError(f"rule {rule_id!r}: {key} {found}; want {wanted}", RULE)

    if "graph" in body:
        raise RuleError(f"rule {rule_id!r}: graph is not supported; want sql and actions", RULE)
    if not isinstance(body.get("sql"), str) or not body["sql"].strip():
        raise wrong("sql", "a SELECT")
    if not isinstance(body.get("actions"), list) or not body["actions"]:
        raise wrong("actions", 'a list with at least one sink, e.g. [{"log": {}}]')
    flags = {key: body.get(key, default) for key, default in (("triggered", True), ("temp", False))}
    for key, flag in flags.items():
        if not isinstance(flag, bool):
            raise wrong(key, "true or false")
    tags = body.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise wrong("tags", "a list of texts")
    texts = {key: body.get(key) or "" for key in ("version", "name")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise wrong(key, "text")
    given = body.get("options")
    if given is not None and not isinstance(given, Mapping):
        raise wrong("options", "an object")
    kept = {"id": rule_id} | {key: value for key, value in body.items() if key != "id"}
    return RuleDefinition(
        rule_id,
        body["sql"],
        _actions(msgspec.json.encode(body["actions"])),
        options(given),
        flags["triggered"],
        tuple(tags),
        flags["temp"],
        texts["version"],
        texts["name"],
        msgspec.json.encode(kept).decode(),
    )


@lru_cache(maxsize=4096)
def _actions(text: bytes) -> tuple[Action, ...]:
    actions: list[Action] = []
    for each in msgspec.json.decode(text):
        if not isinstance(each, dict) or not each:
            raise RuleError('actions: want objects of sink type to properties, e.g. {"log": {}}', RULE)
        for kind, properties in each.items():
            if properties is not None and not isinstance(properties, dict):
                raise RuleError(f"actions: properties of {kind!r} want an object", RULE)
            canonical = msgspec.json.encode(properties or {}, order="sorted").decode()
            actions.append(Action(kind, canonical))
    return tuple(actions)


def no_rule(rule_id: str) -> RuleError:
    """The RuleError 404 for this id; raises RuleError 400 where it is not a valid id."""
    return RuleError(f"rule {checked_id('rule', rule_id, RULE)} is not found", NOT_FOUND, 404)

"""/, /ping, /stop, /configs, /batch/req, /metrics, /health: routes about the service itself.

PATCH /configs changes log and time zone of the whole process until it ends; an engine inside another service
does not change them. Source: docs/reference/rules.md, A.1.
"""

import importlib.metadata
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from opq_plugins.host.plugins import Plugins
from opq_proto.config.settings import configured
from opq_proto.kit import log
from opq_proto.kit.http_server import METRICS_TYPE
from opq_proto.kit.system_record import ID_HEADER, SystemIdentity
from opq_rules.api.bodies import Free, ProcessSettings, SingleRequest
from opq_rules.api.guard import is_local
from opq_rules.api.request_batch import answers_of
from opq_rules.api.routing import Routes
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, RuleError
from opq_rules.values.batch import JsonObject

MAX_IN_BATCH = 10_000


def routes_of(
    app: Starlette,
    engine: Engine,
    plugins: Plugins,
    stop: Callable[[], None] | None,
    refused: Callable[[], int],
    system: SystemIdentity | None,
) -> Routes:
    """`stop`: ends the service; None where the engine is embedded in another service. `system`:
    which system answers."""
    routes = Routes("server")
    began_s = time.monotonic()

    @routes.get("/")
    @routes.post("/")
    def about() -> JsonObject:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "version": importlib.metadata.version("opq-toolkit"),
            "os": platform.system().lower(),
            "arch": platform.machine(),
            "upTimeSeconds": int(time.monotonic() - began_s),
            "cpuSeconds": round(usage.ru_utime + usage.ru_stime, 3),
            "memoryBytes": _resident_bytes(),
        }

    @routes.get("/ping")
    def ping() -> Response:
        return Response(status_code=200)

    @routes.get("/stop")
    @routes.post("/stop")
    def end() -> str:
        if stop is None:
            raise RuleError("this engine is part of another service; stop that service", CONFIGURATION)
        stop()
        return "the server is stopping"

    @routes.patch("/configs", 204)
    def change(body: Free) -> Response:
        wanted = _process_settings(body)
        if body and stop is None:
            text = f"{', '.join(body)}: belongs to the service that this engine is part of; set it there"
            raise RuleError(text, CONFIGURATION)
        if wanted.timezone is not None:
            _set_zone(wanted.timezone)
        if wanted.debug is not None:
            log.configure("rules", "debug" if wanted.debug else None)
        return Response(status_code=204)

    @routes.post("/batch/req")
    async def batch(body: list[SingleRequest], request: Request) -> list[JsonObject]:
        if len(body) > MAX_IN_BATCH:
            raise RuleError(f"{len(body)} requests; want at most {MAX_IN_BATCH}", CONFIGURATION)

        return await answers_of(app, body)

    @routes.get("/metrics")
    def metrics() -> Response:
        registry = CollectorRegistry(auto_describe=False)
        counts = {"rest_refused_total": refused(), "plugins_unconfined_total": plugins.unconfined_refused}
        registry.register(_Totals(engine, counts))
        return Response(generate_latest(registry), media_type=METRICS_TYPE)

    @routes.get("/health")
    def health(request: Request) -> JsonObject:
        local = is_local(request.scope, [name for name, _ in request.scope["headers"]])
        own = {} if system is None else system.shown_to(local, request.headers.get(ID_HEADER))
        return {**health_of(engine, plugins.unconfined), **own}

    return routes


def health_of(engine: Engine, unconfined: Mapping[str, str]) -> JsonObject:
    """As in docs/reference/contracts.md; not ok while rules load, where one has failed or lacks a right,
    or where the disk refuses.

    `unconfined`: installed plug-ins that do not run because this machine cannot confine them -> the reason.
    """
    now_s = time.time()
    names = [f"rule {each['id']}" for each in engine.views.rules() if each["status"] == "stopped by error"]
    failed = [{"name": name, "ok": False, "timestamp": now_s, "subcomponents": []} for name in names]
    failed += [
        {"name": f"plug-in {name}", "ok": False, "timestamp": now_s, "info": why, "subcomponents": []}
        for name, why in unconfined.items()
    ]
    for rule_id, why in engine.views.not_allowed().items():
        name = f"rule {rule_id}"
        failed.append({"name": name, "ok": False, "timestamp": now_s, "info": why, "subcomponents": []})
    if refused := engine.views.refused:
        disk = {"name": "delivery", "ok": False, "timestamp": now_s, "info": refused, "subcomponents": []}
        failed.insert(0, disk)
    return {
        "name": "rules",
        "ok": engine.ready.is_set() and not failed,
        "timestamp": now_s,
        "subcomponents": failed[:100],
    }


class _Totals:
    def __init__(self, engine: Engine, counts: Mapping[str, int]) -> None:
        self._engine, self._counts = engine, counts

    def collect(self) -> Any:
        totals = {**self._engine.views.totals(), **self._counts}
        for name, value in totals.items():
            make = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield make(f"opq_rules_{name.removesuffix('_total')}", name.replace("_", " "), value=value)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _process_settings(body: Free) -> ProcessSettings:
    """Reads the settings. Raises RuleError with every problem."""
    try:
        wanted: ProcessSettings = configured(ProcessSettings, body)
    except ValueError as error:
        raise RuleError(str(error), CONFIGURATION) from error
    if wanted.consoleLog is False or wanted.fileLog is True:
        text = "consoleLog, fileLog: want true and false; the log goes to stderr, and on from there"
        raise RuleError(text, CONFIGURATION)
    return wanted


def _set_zone(name: str) -> None:
    """Sets the time zone. Raises RuleError where there is no such zone, or the C library does not find it."""
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        text = f"timezone is {name[:80]!r}; want one of the machine's, such as UTC or Pacific/Honolulu"
        raise RuleError(text, CONFIGURATION) from None
    before = os.environ.get("TZ")
    _use(name)
    now_s = time.time()
    if time.localtime(now_s).tm_gmtoff != datetime.fromtimestamp(now_s, zone).utcoffset().total_seconds():  # type: ignore[union-attr]
        _use(before)
        raise RuleError(f"timezone is {name!r}, which is not installed here (tzdata)", CONFIGURATION)


def _use(name: str | None) -> None:
    if name is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = name
    time.tzset()

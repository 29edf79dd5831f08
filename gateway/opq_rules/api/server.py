"""/, /ping, /stop, /batch/req, /metrics, /health: of the service itself. Source: reference/rules.md, A.1."""

import importlib.metadata
import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from opq_rules.api.bodies import Single
from opq_rules.api.marks import check_text
from opq_rules.api.patience import Edge
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, RuleError

MOST_IN_BATCH = 10_000
MOST_ANSWERED = 64 << 20
"""Characters of a batch's answers together; its other requests are not made then."""
_NOT_IN_BATCH = ("batch", "stop", "test", "query")
"""Batches in batches, the end of the server, and answers that take minutes or do not end."""


def router(app: FastAPI, engine: Engine, stop: Callable[[], None] | None, edge: Edge) -> APIRouter:
    """`stop`: ends the service; None where it is not the caller's to end (embedded)."""
    routes = APIRouter(tags=["server"])
    began_s = time.monotonic()

    @routes.get("/")
    @routes.post("/")
    def about() -> dict[str, Any]:
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
    def end() -> PlainTextResponse:
        if stop is None:
            raise RuleError("this engine is part of another service; end that", CONFIGURATION)
        stop()
        return PlainTextResponse("the server is stopping")

    @routes.post("/batch/req")
    async def batch(body: list[Single], request: Request) -> list[dict[str, Any]]:
        if len(body) > MOST_IN_BATCH:
            raise RuleError(f"{len(body)} requests; want at most {MOST_IN_BATCH}", CONFIGURATION)
        answers: list[dict[str, Any]] = []
        told = 0
        inside = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=inside, base_url="http://127.0.0.1") as client:
            for each in body:
                if told > MOST_ANSWERED:
                    answers.append({"code": 413, "response": f"the answers have {told} characters already"})
                    continue
                answers.append(await _one_of_batch(client, each))
                told += len(answers[-1]["response"])
        return answers

    @routes.get("/metrics")
    def metrics() -> Response:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Totals(engine, edge))
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    @routes.get("/health")
    def health() -> dict[str, Any]:
        return told_health(engine)

    return routes


async def _one_of_batch(client: httpx.AsyncClient, single: Single) -> dict[str, Any]:
    """Its path is looked at as the routes will see it: decoded, without dots."""
    try:
        check_text(single.body or "")
        content = single.body.encode() if single.body else None
        request = client.build_request(single.method, "/" + single.path.lstrip("/"), content=content)
    except (httpx.InvalidURL, UnicodeError) as error:
        return {"code": 400, "response": f"path: {error}"}
    except RuleError as error:
        return {"code": error.http, "response": str(error)}
    if request.url.path.split("/")[1] in _NOT_IN_BATCH:
        return {"code": 400, "response": f"{request.url.path[:200]} is not for a batch"}
    told = await client.send(request)
    return {"code": told.status_code, "response": told.text}


def told_health(engine: Engine) -> dict[str, Any]:
    """As contracts.md has it; not ok while rules load, where one has failed, or the disk refuses."""
    now_s = time.time()
    names = [f"rule {each['id']}" for each in engine.views.rules() if each["status"] == "stopped by error"]
    failed = [{"name": name, "ok": False, "timestamp": now_s, "subcomponents": []} for name in names]
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
    def __init__(self, engine: Engine, edge: Edge) -> None:
        self._engine, self._edge = engine, edge

    def collect(self) -> Any:
        told = {f"rest_{name}_total": value for name, value in asdict(self._edge).items()}
        for name, value in (self._engine.views.totals() | told).items():
            make = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield make(f"opq_rules_{name.removesuffix('_total')}", name.replace("_", " "), value=value)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

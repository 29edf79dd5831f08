"""/ruletest: runs a rule on given records, and answers with server-sent events, or at once.

Source: docs/reference/rules.md, A.5. Results come at /test/{id} of this server (eKuiper opens another port).
"""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from opq_rules.api.bodies import Trial
from opq_rules.api.trial_process import run_apart, shape_of
from opq_rules.batch import JsonObject
from opq_rules.engine.definition import checked_id
from opq_rules.engine.engine import Engine
from opq_rules.engine.trying import run_case
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RuleError

MAX_TRIALS = 20
LONGEST_S = 600.0
"""A trial is removed after so long."""
_PING_S = 10.0
_POLL_S = 0.1
_LOOPED = 10_000
"""Records to which a `loop` is repeated."""
MAX_RECORDS = 200_000
"""Records of all streams of a trial; they are made here, before its own process gets them."""


class Trials:
    """Trials are made by POST /ruletest, started by .../start, sent at /test/{id}."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._trials: dict[str, _Trial] = {}

    def add(self, body: Trial) -> str:
        case = self._case(body)
        options = {key: value for key, value in case["options"].items() if key != "end_ms"}
        looked_at = {key: value for key, value in case.items() if key != "sinkProps"}
        run_case({**looked_at, "options": options, "input": []})  # problems of the rule are reported now
        name = checked_id("trial", body.id or uuid.uuid4().hex[:12], CONFIGURATION)
        with self._lock:
            now_s = time.monotonic()
            self._trials = {key: each for key, each in self._trials.items() if each.until_s > now_s}
            if len(self._trials) >= MAX_TRIALS:
                raise RuleError(f"{MAX_TRIALS} trials are open; delete one", CONFIGURATION)
            self._trials[name] = _Trial(case)
        return name

    def get(self, name: str) -> "_Trial":
        with self._lock:
            found = self._trials.get(name)
        if found is None:
            raise RuleError(f"trial {name[:80]!r} is not found", NOT_FOUND, 404)
        return found

    def delete(self, name: str) -> None:
        self.get(name).ended.set()
        with self._lock:
            self._trials.pop(name, None)

    def run(self, body: Trial) -> bytes:
        """The emissions as a JSON array, at once, under a virtual clock."""
        return b"[" + b",".join(run_apart(self._case(body))) + b"]"

    def _case(self, body: Trial) -> JsonObject:
        """The case of a trial. Given records replace the stream's source; other streams have none."""
        shape_of(body.sinkProps)
        exported = self._engine.views.exported()
        known = {**exported["streams"], **exported["tables"]}
        records: list[JsonObject] = []
        for stream, mock in body.mockSource.items():
            rounds = max(1, _LOOPED // max(1, len(mock.data))) if mock.loop else 1
            if len(records) + rounds * len(mock.data) > MAX_RECORDS:
                raise RuleError(f"mockSource: want at most {MAX_RECORDS} records in all", CONFIGURATION)
            for k, row in enumerate(mock.data * rounds):
                records.append({"stream": stream, "ts": k * mock.interval, "data": row})
        records.sort(key=lambda record: record["ts"])
        ddl = [known[name] for name in known if name in body.mockSource or name in body.sql]
        return {
            "name": body.id,
            "stream_ddl": ddl,
            "sql": body.sql,
            "options": body.options,
            "input": records,
            "sinkProps": body.sinkProps,
        }


class _Trial:
    def __init__(self, case: JsonObject) -> None:
        self.case = case
        self.until_s = time.monotonic() + LONGEST_S
        self.started, self.ended = threading.Event(), threading.Event()

    async def events(self) -> AsyncIterator[str]:
        """Yields server-sent events, one per emission, once the trial is started; its clock is virtual.

        No thread waits for the start: REST has 40 threads, and as many clients would occupy all of them.
        """
        ping_s = time.monotonic() + _PING_S
        while not self.started.is_set():
            now_s = time.monotonic()
            if self.ended.is_set() or now_s > self.until_s:
                return
            if now_s > ping_s:
                ping_s = now_s + _PING_S
                yield ": waiting for start\n\n"
            await asyncio.sleep(_POLL_S)
        try:
            emissions = await asyncio.to_thread(run_apart, self.case)
        except RuleError as error:
            emissions = [msgspec.json.encode([{"error": str(error)}])]
        for emission in emissions:
            if self.ended.is_set():
                return
            yield f"data: {emission.decode()}\n\n"


def router(trials: Trials) -> APIRouter:
    routes = APIRouter(tags=["trials"])

    @routes.post("/ruletest")
    def add(body: Trial, request: Request) -> JsonObject:
        return {"id": trials.add(body), "port": request.url.port or 80}

    @routes.post("/ruletest/run")
    def run(body: Trial) -> Response:
        return Response(trials.run(body), media_type="application/json")

    @routes.post("/ruletest/{name}/start")
    def start(name: str) -> PlainTextResponse:
        trials.get(name).started.set()
        return PlainTextResponse("success")

    @routes.delete("/ruletest/{name}")
    def delete(name: str) -> PlainTextResponse:
        trials.delete(name)
        return PlainTextResponse("success")

    @routes.get("/test/{name}")
    def events(name: str) -> StreamingResponse:
        return StreamingResponse(trials.get(name).events(), media_type="text/event-stream")

    return routes

"""/ruleset and /data: export and import of whole sets, as JSON or YAML, at once or as a task.

Tasks, which may take long, run one after another. Source: docs/reference/rules.md, A.5.
"""

import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import ValidationError

from opq_plugins.host.plugins import Plugins
from opq_proto import log
from opq_rules.api import exchange, sections
from opq_rules.api.bodies import Ids, RuleSet
from opq_rules.api.sections import Sections
from opq_rules.batch import JsonObject
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, ENCODING, IO_ERROR, NOT_FOUND, RuleError

MAX_WAITING = 10
MAX_KEPT = 100
"""Tasks that have ended; beyond that the oldest is dropped."""

Work = Callable[[Callable[[], bool]], Any]
"""Gets a function that tells whether it was cancelled; returns its result as JSON, or raises RuleError."""


@dataclass(slots=True)
class _Task:
    id: str
    work: Work
    status: Literal["pending", "running", "finished", "failed", "cancelled"] = "pending"
    message: str = ""
    result: Any = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class Tasks:
    """Thread-safe. Its thread exists only while there is something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Task] = deque()
        self._known: dict[str, _Task] = {}
        self._busy = False

    def add(self, work: Work) -> str:
        """Adds a task; returns its id. RuleError 400: too many wait."""
        task = _Task(uuid.uuid4().hex[:12], work)
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                raise RuleError(f"{MAX_WAITING} tasks wait; cancel one", CONFIGURATION)
            self._waiting.append(task)
            self._known[task.id] = task
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._run, name="rules-tasks", daemon=True).start()
        return task.id

    def get(self, name: str) -> JsonObject:
        """`{"id", "status", "message", "result"}`; status: pending, running, finished, failed, cancelled."""
        with self._lock:
            task = self._one(name)
            return {"id": task.id, "status": task.status, "message": task.message, "result": task.result}

    def cancel(self, name: str) -> None:
        """Cancels a task; a running one ends as long as nothing has changed. RuleError 400: it has ended."""
        with self._lock:
            task = self._one(name)
            if task.status not in ("pending", "running"):
                raise RuleError(f"task {task.id} has ended: {task.status}", CONFIGURATION)
            task.cancelled.set()
            if task.status == "pending":
                self._waiting.remove(task)
                task.status = "cancelled"

    def _one(self, name: str) -> _Task:
        found = self._known.get(name)
        if found is None:
            raise RuleError(f"task {name[:80]!r} is not found", NOT_FOUND, 404)
        return found

    def _run(self) -> None:
        while True:
            with self._lock:
                self._remove_ended()
                if not self._waiting:
                    self._busy = False
                    return
                task = self._waiting.popleft()
                task.status = "running"
            status, message, result = self._done(task)
            with self._lock:
                task.status, task.message, task.result = status, message, result

    def _done(self, task: _Task) -> tuple[Literal["finished", "failed", "cancelled"], str, Any]:
        try:
            return "finished", "", task.work(task.cancelled.is_set)
        except RuleError as error:
            return ("cancelled" if task.cancelled.is_set() else "failed"), str(error), None
        except Exception as error:  # a bug of ours: logged, and the next task runs
            log.get(service="rules-api").exception("task.failed", task=task.id, error=str(error))
            return "failed", "a fault of ours; the log has it", None

    def _remove_ended(self) -> None:
        ended = [each.id for each in self._known.values() if each.status not in ("pending", "running")]
        for name in ended[: max(0, len(ended) - MAX_KEPT)]:
            del self._known[name]


Flag = Annotated[bool, Query()]
MAX_FILE_BYTES = 16 << 20
"""Limit of an uploaded set."""


def router(engine: Engine, plugins: Plugins) -> APIRouter:
    routes = APIRouter(tags=["sets"])
    importer = _Importer(engine, plugins)
    _rules(routes, engine, plugins)
    _data(routes, importer)
    _yaml(routes, importer)
    _tasks(routes, importer, Tasks())
    return routes


class _Importer:
    """Exports and imports of one engine; one import at a time. `last`: why the last one was refused."""

    def __init__(self, engine: Engine, plugins: Plugins) -> None:
        self.uploads = plugins.uploads
        self.last: JsonObject = {}
        self._engine, self._plugins = engine, plugins
        self._one_at_a_time = threading.Lock()

    def exported(self, wanted: list[str] | None = None) -> Sections:
        """`wanted`: ids of rules, exported with what they need; None: everything."""
        found = sections.everything(self._engine, self._plugins)
        if wanted is None:
            return found
        for rule_id in wanted:
            self._engine.views.rule(rule_id)
        return exchange.needed(found, self._engine, self._plugins, wanted)

    def imported(
        self,
        read: Callable[[], Sections],
        partial: bool,
        dry: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> dict[str, int]:
        with self._one_at_a_time:
            self.last = {}
            try:
                found = read()
                if dry:
                    exchange.dry_run(self._engine, self._plugins, found, partial)
                    return {name: len(each) for name, each in found.items()}
                return exchange.take_over(self._engine, self._plugins, found, partial, stopped)
            except RuleError as error:
                self.last = error.as_json()
                raise


def _rules(routes: APIRouter, engine: Engine, plugins: Plugins) -> None:
    @routes.post("/ruleset/export")
    def export_rules() -> Response:
        return _download(sections.rule_set(engine), "rules.json")

    @routes.post("/ruleset/import")
    def import_rules(body: RuleSet) -> dict[str, int]:
        return exchange.merge(engine, sections.read(_content(body, plugins.uploads)))


def _data(routes: APIRouter, importer: _Importer) -> None:
    @routes.get("/data/export")
    def export_data() -> Response:
        return _download(importer.exported(), "data.json")

    @routes.post("/data/export")
    def export_some(body: Ids | list[str]) -> Response:
        return _download(importer.exported(_ids(body)), "data.json")

    @routes.post("/data/import")
    def import_data(body: RuleSet, partial: Flag = False, dry: Flag = False) -> dict[str, int]:
        return importer.imported(lambda: sections.read(_content(body, importer.uploads)), partial, dry)

    @routes.get("/data/import/status")
    def import_status() -> JsonObject:
        return importer.last


def _yaml(routes: APIRouter, importer: _Importer) -> None:
    @routes.get("/v2/data/export")
    def export_data() -> Response:
        return _readable(importer.exported())

    @routes.post("/v2/data/export")
    def export_some(body: Ids | list[str]) -> Response:
        return _readable(importer.exported(_ids(body)))

    @routes.post("/v2/data/import")
    def import_data(
        body: Annotated[bytes, Depends(_whole)], partial: Flag = False, dry: Flag = False
    ) -> dict[str, int]:
        return importer.imported(lambda: _of_yaml(body, importer.uploads), partial, dry)


def _tasks(routes: APIRouter, importer: _Importer, tasks: Tasks) -> None:
    @routes.post("/async/data/import")
    def begin(body: RuleSet, partial: Flag = False) -> dict[str, str]:
        text = _content(body, importer.uploads)

        def work(stopped: Callable[[], bool]) -> dict[str, int]:
            return importer.imported(lambda: sections.read(text), partial, stopped=stopped)

        return {"id": tasks.add(work)}

    @routes.get("/async/task/{name}")
    def one(name: str) -> JsonObject:
        return tasks.get(name)

    @routes.post("/async/task/{name}/cancel")
    def cancel(name: str) -> PlainTextResponse:
        tasks.cancel(name)
        return PlainTextResponse(f"Task {name} is cancelled.")


async def _whole(request: Request) -> bytes:
    return await request.body()


def _of_yaml(raw: bytes, uploads: Path) -> Sections:
    """Reads the set itself or, as with JSON, a body with `content` or `file`."""
    try:
        text = raw.decode()
    except UnicodeError as error:
        raise RuleError(f"content is no UTF-8: {error}", ENCODING) from None
    read = sections.json_of_yaml(text)
    document = msgspec.json.decode(read)
    if isinstance(document, dict) and document and set(document) <= {"content", "file"}:
        try:
            body = RuleSet.model_validate(document)
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error
        read = sections.json_of_yaml(_content(body, uploads))
    return sections.read(read)


def _content(body: RuleSet, uploads: Path) -> str:
    """The text in the body, or in an uploaded file."""
    if (body.content is None) == (body.file is None):
        raise RuleError("want either content or file", CONFIGURATION)
    if body.content is not None:
        return body.content
    path = Path((body.file or "").removeprefix("file://"))
    if not (body.file or "").startswith("file://") or path.parent != uploads:
        raise RuleError(f"file: want file://{uploads}/NAME, which POST /config/uploads makes", CONFIGURATION)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RuleError(f"{path.name} is longer than {MAX_FILE_BYTES} bytes", CONFIGURATION, 413)
        return path.read_text()
    except (OSError, UnicodeError) as error:
        raise RuleError(f"{path.name} cannot be read: {error}", IO_ERROR) from error


def _ids(body: Ids | list[str]) -> list[str]:
    return body.rules if isinstance(body, Ids) else body


def _readable(found: Sections) -> Response:
    """The set as YAML, with rules as objects and not as text."""
    rules = {name: msgspec.json.decode(text) for name, text in found["rules"].items()}
    text = sections.yaml_of({**found, "rules": rules})
    headers = {"Content-Disposition": 'attachment; filename="data.yaml"'}
    return Response(text, media_type="application/yaml", headers=headers)


def _download(content: Any, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return JSONResponse(msgspec.to_builtins(content), headers=headers)

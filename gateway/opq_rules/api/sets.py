"""/ruleset and /data: whole sets out and in, as JSON or YAML, at once or as a task.

Source: reference/rules.md, A.5.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import ValidationError

from opq_plugins.host.plugins import Plugins
from opq_rules.api import exchange, sections
from opq_rules.api.bodies import Ids, RuleSet
from opq_rules.api.sections import Sections
from opq_rules.api.tasks import Tasks
from opq_rules.batch import JsonObject
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, ENCODING, IO_ERROR, RuleError

Flag = Annotated[bool, Query()]
MOST_FILE_BYTES = 16 << 20
"""A set that was uploaded."""


def router(engine: Engine, plugins: Plugins) -> APIRouter:
    routes = APIRouter(tags=["sets"])
    importer = _Importer(engine, plugins)
    _rules(routes, engine, plugins)
    _data(routes, importer)
    _yaml(routes, importer)
    _tasks(routes, importer, Tasks())
    return routes


class _Importer:
    """Everything of one engine; imports one at a time. `last`: what the last one was refused for."""

    def __init__(self, engine: Engine, plugins: Plugins) -> None:
        self.uploads = plugins.uploads
        self.last: JsonObject = {}
        self._engine, self._plugins = engine, plugins
        self._one_at_a_time = threading.Lock()

    def exported(self, wanted: list[str] | None = None) -> Sections:
        """`wanted`: ids of rules, which come with what they need; None: all."""
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
                    exchange.rehearse(self._engine, self._plugins, found, partial)
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
        return tasks.one(name)

    @routes.post("/async/task/{name}/cancel")
    def cancel(name: str) -> PlainTextResponse:
        tasks.cancel(name)
        return PlainTextResponse(f"Task {name} is cancelled.")


async def _whole(request: Request) -> bytes:
    return await request.body()


def _of_yaml(raw: bytes, uploads: Path) -> Sections:
    """The set itself, or as with JSON `content` or `file` with it."""
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
        raise RuleError("want content or file, and one of them", CONFIGURATION)
    if body.content is not None:
        return body.content
    path = Path((body.file or "").removeprefix("file://"))
    if not (body.file or "").startswith("file://") or path.parent != uploads:
        raise RuleError(f"file: want file://{uploads}/NAME, which POST /config/uploads makes", CONFIGURATION)
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise RuleError(f"{path.name} is longer than {MOST_FILE_BYTES} bytes", CONFIGURATION, 413)
        return path.read_text()
    except (OSError, UnicodeError) as error:
        raise RuleError(f"{path.name} cannot be read: {error}", IO_ERROR) from error


def _ids(body: Ids | list[str]) -> list[str]:
    return body.rules if isinstance(body, Ids) else body


def _readable(found: Sections) -> Response:
    """Rules as objects, not as text."""
    rules = {name: msgspec.json.decode(text) for name, text in found["rules"].items()}
    text = sections.yaml_of({**found, "rules": rules})
    headers = {"Content-Disposition": 'attachment; filename="data.yaml"'}
    return Response(text, media_type="application/yaml", headers=headers)


def _download(content: Any, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return JSONResponse(msgspec.to_builtins(content), headers=headers)

"""/ruleset, /data, /config/uploads, /metadata. Source: reference/rules.md, A.5."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from opq_rules.api import exchange
from opq_rules.api.bodies import Free, Ids, RuleSet
from opq_rules.api.uploading import uploaded
from opq_rules.engine.configurations import CONNECTIONS
from opq_rules.engine.engine import Engine
from opq_rules.engine.ids import checked_id
from opq_rules.errors import CONFIGURATION, IO_ERROR, NOT_FOUND, RuleError
from opq_rules.plugins.plugins import Plugins

Kinds = Literal["sources", "sinks", "connections"]
Flag = Annotated[bool, Query()]


def router(engine: Engine, plugins: Plugins) -> APIRouter:
    routes = APIRouter()
    _exchange(routes, engine, plugins)
    _uploads(routes, plugins.uploads)
    _configurations(routes, engine, plugins)
    return routes


def _exchange(routes: APIRouter, engine: Engine, plugins: Plugins) -> None:
    last: dict[str, Any] = {}

    @routes.post("/ruleset/export", tags=["sets"])
    def export_rules() -> Response:
        return _download(exchange.rule_set(engine), "rules.json")

    @routes.post("/ruleset/import", tags=["sets"])
    def import_rules(body: RuleSet) -> dict[str, int]:
        return exchange.merge(engine, exchange.read(_content(body, plugins.uploads)))

    @routes.get("/data/export", tags=["sets"])
    def export_data() -> Response:
        return _download(exchange.everything(engine, plugins), "data.json")

    @routes.post("/data/export", tags=["sets"])
    def export_some(body: Ids | list[str]) -> Response:
        wanted = body.rules if isinstance(body, Ids) else body
        found = exchange.everything(engine, plugins)
        for rule_id in wanted:
            engine.look.rule(rule_id)
        found["rules"] = {key: text for key, text in found["rules"].items() if key in wanted}
        return _download(found, "data.json")

    @routes.post("/data/import", tags=["sets"])
    def import_data(body: RuleSet, partial: Flag = False, dry: Flag = False) -> dict[str, Any]:
        last.clear()
        try:
            sections = exchange.read(_content(body, plugins.uploads))
            if dry:
                return {name: len(each) for name, each in sections.items()}
            counts = exchange.take_over(engine, plugins, sections, partial)
        except RuleError as error:
            last.update(error.as_json())
            raise
        return counts

    @routes.get("/data/import/status", tags=["sets"])
    def import_status() -> dict[str, Any]:
        return last


def _uploads(routes: APIRouter, folder: Path) -> None:
    @routes.post("/config/uploads", status_code=201, tags=["sets"])
    def upload(body: Annotated[tuple[str, bytes], Depends(uploaded)]) -> PlainTextResponse:
        name, content = body
        path = folder / _file_name(name)
        part = path.with_name(path.name + ".part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(path)
        except OSError as error:
            raise RuleError(f"{path.name} cannot be stored: {error.strerror}", IO_ERROR) from error
        return PlainTextResponse(str(path), 201)

    @routes.get("/config/uploads", tags=["sets"])
    def uploads() -> list[str]:
        return sorted(str(path) for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []

    @routes.delete("/config/uploads/{name}", tags=["sets"])
    def delete(name: str) -> PlainTextResponse:
        path = folder / _file_name(name)
        if not path.is_file():
            raise RuleError(f"upload {name[:80]!r} is not found", NOT_FOUND, 404)
        path.unlink()
        return PlainTextResponse("ok")


def _configurations(routes: APIRouter, engine: Engine, plugins: Plugins) -> None:
    @routes.get("/metadata/{kinds}", tags=["configurations"])
    def types(kinds: Kinds) -> list[dict[str, str]]:
        return [{"name": name} for name in plugins.types(kinds.removesuffix("s"))]

    @routes.get("/metadata/{kinds}/yaml/{type_name}", tags=["configurations"])
    def named(kinds: Kinds, type_name: str) -> dict[str, Any]:
        checked_id("type", type_name, CONFIGURATION)
        return engine.configurations.all(kinds, type_name)

    @routes.put("/metadata/{kinds}/{type_name}/confKeys/{name}", tags=["configurations"])
    def put(kinds: Kinds, type_name: str, name: str, body: Free) -> PlainTextResponse:
        if kinds == CONNECTIONS:
            engine.connections.put(type_name, name, body)
        else:
            engine.configurations.put(kinds, type_name, name, body)
        return PlainTextResponse("ok")

    @routes.delete("/metadata/{kinds}/{type_name}/confKeys/{name}", tags=["configurations"])
    def delete(kinds: Kinds, type_name: str, name: str) -> PlainTextResponse:
        if kinds == CONNECTIONS:
            engine.connections.delete(name)
        else:
            engine.configurations.delete(kinds, type_name, name)
        return PlainTextResponse("ok")


def _content(body: RuleSet, uploads: Path) -> str:
    """Of the body, or of an uploaded file."""
    if (body.content is None) == (body.file is None):
        raise RuleError("want content or file, and one of them", CONFIGURATION)
    if body.content is not None:
        return body.content
    path = Path((body.file or "").removeprefix("file://"))
    if not (body.file or "").startswith("file://") or path.parent != uploads:
        raise RuleError(f"file: want file://{uploads}/NAME, which POST /config/uploads makes", CONFIGURATION)
    try:
        return path.read_text()
    except (OSError, UnicodeError) as error:
        raise RuleError(f"{path.name} cannot be read: {error}", IO_ERROR) from error


def _file_name(name: str) -> str:
    """Letters, digits, `_`, `-`, and dots in between."""
    for part in name.split("."):
        checked_id("upload", part, CONFIGURATION)
    return name


def _download(content: Any, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return JSONResponse(msgspec.to_builtins(content), headers=headers)

"""/metadata and /schemas. Source: docs/reference/rules.md, A.5."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse

from opq_plugins.host.plugins import Plugins
from opq_rules.api.bodies import Free, NewSchema, Schema
from opq_rules.api.uploads import of_form
from opq_rules.batch import JsonObject
from opq_rules.engine.definition import checked_id
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, RuleError
from opq_rules.streams import schemas
from opq_rules.streams.schemas import MAX_BYTES, SchemaContent

Kinds = Literal["sources", "sinks"]


def router(engine: Engine, plugins: Plugins) -> APIRouter:
    routes = APIRouter(tags=["configurations"])

    @routes.get("/metadata/{kinds}")
    def types(kinds: Kinds) -> list[dict[str, str]]:
        return [{"name": name} for name in plugins.types(kinds.removesuffix("s"))]

    @routes.get("/metadata/{kinds}/yaml/{type_name}")
    def named(kinds: Kinds, type_name: str) -> JsonObject:
        checked_id("type", type_name, CONFIGURATION)
        return engine.configurations.all(kinds, type_name)

    @routes.put("/metadata/{kinds}/{type_name}/confKeys/{name}")
    def put(kinds: Kinds, type_name: str, name: str, body: Free) -> PlainTextResponse:
        engine.configurations.put(kinds, type_name, name, body)
        return PlainTextResponse("ok")

    @routes.delete("/metadata/{kinds}/{type_name}/confKeys/{name}")
    def delete(kinds: Kinds, type_name: str, name: str) -> PlainTextResponse:
        engine.configurations.delete(kinds, type_name, name)
        return PlainTextResponse("ok")

    return routes


Kind = Literal["protobuf"]
FIELD = "file"


async def _form(request: Request) -> bytes:
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/"):
        raise RuleError(f"want a form: curl -X PUT -F {FIELD}=@x.proto", CONFIGURATION)
    return of_form(kind, await request.body(), FIELD)[1]


def schema_routes(engine: Engine, plugins: Plugins) -> APIRouter:
    routes = APIRouter(prefix="/schemas", tags=["schemas"])

    @routes.post("/{kind}", status_code=201)
    def create(kind: Kind, body: NewSchema) -> PlainTextResponse:
        engine.schemas.put(body.name, _content(body, plugins), body.version, new=True)
        return PlainTextResponse(f"{kind} schema {body.name} is created", 201)

    @routes.get("/{kind}")
    def names(kind: Kind) -> list[str]:
        return engine.schemas.names()

    @routes.get("/{kind}/{name}")
    def one(kind: Kind, name: str) -> JsonObject:
        return engine.schemas.get(name)

    @routes.put("/{kind}/{name}")
    def put(kind: Kind, name: str, body: Schema) -> PlainTextResponse:
        if body.name not in (None, name):
            raise RuleError(f"the path says {name[:80]!r}, the body {str(body.name)[:80]!r}", CONFIGURATION)
        return _put(engine, kind, name, _content(body, plugins), body.version)

    @routes.put("/{kind}/{name}/upload")
    def upload(
        kind: Kind, name: str, content: Annotated[bytes, Depends(_form)], version: str = ""
    ) -> PlainTextResponse:
        return _put(engine, kind, name, _read(lambda: schemas.of_bytes(content)), version)

    @routes.delete("/{kind}/{name}")
    def delete(kind: Kind, name: str) -> PlainTextResponse:
        engine.schemas.delete(name)
        return PlainTextResponse(f"{kind} schema {name} is deleted")

    return routes


def _put(engine: Engine, kind: str, name: str, content: SchemaContent, version: str) -> PlainTextResponse:
    if engine.schemas.put(name, content, version):
        return PlainTextResponse(f"{kind} schema {name} is created", 201)
    return PlainTextResponse(f"{kind} schema {name} is updated")


def _content(body: NewSchema | Schema, plugins: Plugins) -> SchemaContent:
    if body.soFile:
        raise RuleError("soFile: a Go library cannot be loaded here", CONFIGURATION)
    if (body.content is None) == (body.file is None):
        raise RuleError("want either content or file", CONFIGURATION)
    if body.content is not None:
        text = body.content
        return _read(lambda: schemas.of_text(text))
    fetched = plugins.fetched(body.file or "", MAX_BYTES)
    return _read(lambda: schemas.of_bytes(fetched))


def _read(make: Callable[[], SchemaContent]) -> SchemaContent:
    try:
        return make()
    except ValueError as error:
        raise RuleError(f"schema: {error}", CONFIGURATION) from error

"""/streams and /tables: one shape for both. Source: docs/reference/rules.md, A.2."""

from enum import Enum

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.convertors import Convertor, register_url_convertor

from opq_rules.api.bodies import Statement
from opq_rules.batch import JsonObject
from opq_rules.engine.engine import Engine
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create


class _Name(Convertor[str]):
    """Old names may contain a /, but not at the end: `/streams/` is redirected to `/streams`."""

    regex = "[^/]+(?:/[^/]+)*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


def router(engine: Engine) -> APIRouter:
    """The routes of streams and tables."""
    routes = APIRouter()
    _family(routes, engine, "stream")
    _family(routes, engine, "table")
    return routes


def _family(routes: APIRouter, engine: Engine, what: str) -> None:
    path = f"/{what}s"
    tags: list[str | Enum] = [f"{what}s"]

    @routes.post(path, status_code=201, tags=tags, name=f"execute a statement about {what}s")
    def create(body: Statement) -> Response:
        answer = engine.execute(body.sql, what)
        if not isinstance(answer, str):
            return JSONResponse(answer)
        return PlainTextResponse(answer, 201 if isinstance(parse(body.sql), Create) else 200)

    @routes.get(path, tags=tags, name=f"names of all {what}s")
    def names(kind: str | None = None) -> list[str]:
        return engine.catalogue.names(what, kind if what == "table" else None)

    @routes.get(f"/{what}details", tags=tags, name=f"name, type and format of all {what}s")
    def details(kind: str | None = None) -> list[dict[str, str]]:
        return engine.catalogue.details(what, kind)

    @routes.get(path + "/{name:name}/schema", tags=tags, name=f"columns of a {what}")
    def schema(name: str) -> JsonObject:
        return engine.catalogue.schema(name, what)

    @routes.get(path + "/{name:name}", tags=tags, name=f"a {what}")
    def one(name: str) -> JsonObject:
        return engine.catalogue.described(name, what)

    @routes.put(path + "/{name:name}", tags=tags, name=f"define a {what} again")
    def replace(name: str, body: Statement) -> PlainTextResponse:
        return PlainTextResponse(engine.replace_stream(name, body.sql, what))

    @routes.delete(path + "/{name:name}", tags=tags, name=f"drop a {what}")
    def drop(name: str, force: bool = False) -> PlainTextResponse:
        return PlainTextResponse(engine.drop_stream(name, what, force))

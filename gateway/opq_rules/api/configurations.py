"""/metadata and /connections: named sets of properties, and trying one before it is used.

Source: reference/rules.md, A.5.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Body
from fastapi.responses import PlainTextResponse

from opq_plugins.host.plugins import Plugins
from opq_rules.api.bodies import ConnectionProps, Free, NewConnection
from opq_rules.api.exchange import put_properties
from opq_rules.batch import JsonObject
from opq_rules.engine.connections import CONNECTIONS
from opq_rules.engine.definition import checked_id
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, RuleError

Kinds = Literal["sources", "sinks", "connections"]


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
        put_properties(engine, kinds, type_name, name, body)
        return PlainTextResponse("ok")

    @routes.delete("/metadata/{kinds}/{type_name}/confKeys/{name}")
    def delete(kinds: Kinds, type_name: str, name: str) -> PlainTextResponse:
        if kinds == CONNECTIONS:
            engine.connections.delete(name, type_name)
        else:
            engine.configurations.delete(kinds, type_name, name)
        return PlainTextResponse("ok")

    return routes


def connection_routes(engine: Engine) -> APIRouter:
    routes = APIRouter(tags=["connections"])
    connections = engine.connections

    @routes.post("/connections")
    def create(body: NewConnection) -> PlainTextResponse:
        connections.create(body.typ, body.id, body.props)
        return PlainTextResponse(f"Connection {body.id} is created.", 201)

    @routes.get("/connections")
    def every() -> list[JsonObject]:
        return connections.all()

    @routes.get("/connections/{name}")
    def one(name: str) -> JsonObject:
        return connections.one(checked_id("connection", name, CONFIGURATION))

    @routes.put("/connections/{name}")
    def replace(name: str, body: ConnectionProps) -> PlainTextResponse:
        checked_id("connection", name, CONFIGURATION)
        if body.id not in (None, name):
            raise RuleError(f"the path says connection {name!r}, the body {body.id!r}", CONFIGURATION)
        connections.replace(name, body.props, body.typ)
        return PlainTextResponse(f"Connection {name} is replaced.")

    @routes.delete("/connections/{name}")
    def delete(name: str) -> PlainTextResponse:
        connections.delete(checked_id("connection", name, CONFIGURATION))
        return PlainTextResponse(f"Connection {name} is deleted.")

    @routes.post("/metadata/{kinds}/connection/{type_name}")
    def reach(kinds: Kinds, type_name: str, body: Annotated[Free, Body()]) -> PlainTextResponse:
        connections.try_out(kinds, checked_id("type", type_name, CONFIGURATION), body)
        return PlainTextResponse("success")

    return routes

"""/connections, and trying one before it is used. Source: reference/rules.md, A.5."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from fastapi.responses import PlainTextResponse

from opq_rules.api.bodies import Connection, Free, NewConnection
from opq_rules.engine.engine import Engine
from opq_rules.engine.ids import checked_id
from opq_rules.errors import CONFIGURATION, RuleError

Tried = Literal["sources", "sinks", "connections"]


def router(engine: Engine) -> APIRouter:
    routes = APIRouter(tags=["connections"])
    connections = engine.connections

    @routes.post("/connections")
    def create(body: NewConnection) -> PlainTextResponse:
        connections.create(body.typ, body.id, body.props)
        return PlainTextResponse(f"Connection {body.id} is created.", 201)

    @routes.get("/connections")
    def every() -> list[dict[str, Any]]:
        return connections.all()

    @routes.get("/connections/{name}")
    def one(name: str) -> dict[str, Any]:
        return connections.one(checked_id("connection", name, CONFIGURATION))

    @routes.put("/connections/{name}")
    def replace(name: str, body: Connection) -> PlainTextResponse:
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
    def reach(kinds: Tried, type_name: str, body: Annotated[Free, Body()]) -> PlainTextResponse:
        connections.try_out(kinds, checked_id("type", type_name, CONFIGURATION), body)
        return PlainTextResponse("success")

    return routes

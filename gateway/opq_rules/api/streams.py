"""/streams and /tables: one shape for both. Source: docs/reference/rules.md, A.2."""

from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import PlainTextResponse, Response

from opq_rules.api.bodies import Statement
from opq_rules.api.routing import Json, Routes
from opq_rules.engine.engine import Engine
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create
from opq_rules.values.batch import JsonObject


class _Name(Convertor[str]):
    """Old names may contain a /, but not at the end: `/streams/` is redirected to `/streams`."""

    regex = "[^/]+(?:/[^/]+)*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


def routes_of(engine: Engine, what: str) -> Routes:
    """The routes of streams, or of tables."""
    path = f"/{what}s"
    routes = Routes(f"{what}s")

    @routes.post(path, 201, title=f"execute a statement about {what}s")
    def create(body: Statement) -> Response:
        answer = engine.execute(body.sql, what)
        if not isinstance(answer, str):
            return Json(answer)
        return PlainTextResponse(answer, 201 if isinstance(parse(body.sql), Create) else 200)

    @routes.get(path, title=f"names of all {what}s")
    def names(kind: str | None = None) -> list[str]:
        return engine.catalogue.names(what, kind if what == "table" else None)

    @routes.get(f"/{what}details", title=f"name, type and format of all {what}s")
    def details(kind: str | None = None) -> list[dict[str, str]]:
        return engine.catalogue.details(what, kind)

    @routes.get(path + "/{name:name}/schema", title=f"columns of a {what}")
    def schema(name: str) -> JsonObject:
        return engine.catalogue.schema(name, what)

    @routes.get(path + "/{name:name}", title=f"a {what}")
    def one(name: str) -> JsonObject:
        return engine.catalogue.described(name, what)

    @routes.put(path + "/{name:name}", title=f"define a {what} again")
    def replace(name: str, body: Statement) -> str:
        return engine.replace_stream(name, body.sql, what)

    @routes.delete(path + "/{name:name}", title=f"drop a {what}")
    def drop(name: str, force: bool = False) -> str:
        return engine.drop_stream(name, what, force)

    return routes

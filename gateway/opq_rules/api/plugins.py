"""/plugins. Source: docs/reference/rules.md, A.4 and F.4."""

from typing import Any

from starlette.responses import PlainTextResponse, Response

from opq_plugins.host.plugins import Plugins
from opq_plugins.package.manifest import REST_KINDS
from opq_rules.api.bodies import FunctionNames, PackagePlace
from opq_rules.api.routing import Json, Routes
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RuleError
from opq_rules.values.batch import JsonObject

KINDS = {path: kind for kind, path in REST_KINDS.items()}


def routes_of(plugins: Plugins) -> Routes:
    """The routes. A POST of a higher version replaces the running one, as a PUT does; else it is refused."""
    routes = Routes("plugins", "/plugins")

    @routes.get("/udfs")
    def functions() -> list[str]:
        return list(plugins.functions())

    @routes.get("/udfs/{name}")
    def function(name: str) -> dict[str, str]:
        owner = plugins.functions().get(name)
        if owner is None:
            raise RuleError(f"function {name[:80]!r} belongs to no plug-in", NOT_FOUND, 404)
        return {"name": name, "plugin": owner}

    @routes.post("/functions/{name}/register")
    def register(name: str, body: FunctionNames) -> str:
        plugins.describe("function", name)
        missing = sorted(set(body.functions) - set(plugins.functions()))
        if missing:
            raise RuleError(f"{name} has no function {', '.join(missing)[:200]}")
        return f"functions of {name} are registered, as its manifest says"

    @routes.post("/{kinds}", 201)
    def create(kinds: str, body: PackagePlace) -> Response:
        kind = _kind(kinds)
        done = plugins.create(kind, body.name, body.file, functions=body.functions)
        if done is None:
            return PlainTextResponse(f"{kind} plugin {body.name} is created", 201)
        return Json(done.as_json(), 201)

    @routes.put("/{kinds}/{name}")
    def replace(kinds: str, name: str, body: PackagePlace, downgrade: bool = False) -> Response:
        if body.name != name:
            raise RuleError(f"the path says {name[:80]!r}, the body {body.name[:80]!r}", CONFIGURATION)
        kind = _kind(kinds)
        done = plugins.create(kind, name, body.file, downgrade=downgrade)
        if done is None:
            return PlainTextResponse(f"{kind} plugin {name} is created")
        return Json(done.as_json())

    @routes.post("/{kinds}/{name}/rollback")
    def rollback(kinds: str, name: str) -> JsonObject:
        plugins.describe(_kind(kinds), name)
        return plugins.rollback(name).as_json()

    @routes.get("/{kinds}")
    def names(kinds: str) -> list[Any]:
        return list(plugins.list(_kind(kinds)))

    @routes.get("/{kinds}/{name}")
    def one(kinds: str, name: str) -> JsonObject:
        return plugins.describe(_kind(kinds), name)

    @routes.get("/{kinds}/{name}/status")
    def status(kinds: str, name: str) -> JsonObject:
        plugins.describe(_kind(kinds), name)
        return plugins.status(name)

    @routes.delete("/{kinds}/{name}")
    def delete(kinds: str, name: str, force: bool = False) -> str:
        kind = _kind(kinds)
        plugins.delete(kind, name, force=force)
        return f"{kind} plugin {name} is deleted"

    return routes


def _kind(kinds: str) -> str:
    if kinds not in KINDS:
        raise RuleError(f"/plugins/{kinds[:40]}: want one of {', '.join(KINDS)}", NOT_FOUND, 404)
    return KINDS[kinds]

"""/metadata. Source: docs/reference/rules.md, A.5."""

from typing import Literal

from opq_plugins.host.plugins import Plugins
from opq_rules.api.bodies import Free
from opq_rules.api.routing import Routes
from opq_rules.engine.definitions.rule_definition import checked_id
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION
from opq_rules.values.batch import JsonObject

Kinds = Literal["sources", "sinks"]


def routes_of(engine: Engine, plugins: Plugins) -> Routes:
    routes = Routes("configurations")

    @routes.get("/metadata/{kinds}")
    def types(kinds: Kinds) -> list[dict[str, str]]:
        return [{"name": name} for name in plugins.types(kinds.removesuffix("s"))]

    @routes.get("/metadata/{kinds}/yaml/{type_name}")
    def named(kinds: Kinds, type_name: str) -> JsonObject:
        checked_id("type", type_name, CONFIGURATION)
        return engine.configurations.all(kinds, type_name)

    @routes.put("/metadata/{kinds}/{type_name}/confKeys/{name}")
    def put(kinds: Kinds, type_name: str, name: str, body: Free) -> str:
        engine.configurations.put(kinds, type_name, name, body)
        return "ok"

    @routes.delete("/metadata/{kinds}/{type_name}/confKeys/{name}")
    def delete(kinds: Kinds, type_name: str, name: str) -> str:
        engine.configurations.delete(kinds, type_name, name)
        return "ok"

    return routes

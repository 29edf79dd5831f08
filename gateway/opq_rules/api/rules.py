"""/rules and /keyed_state. Source: docs/reference/rules.md, A.3."""

from typing import Annotated, Any

import msgspec

from opq_rules.api.bodies import Free, ResetState, TagKeys, Tags
from opq_rules.api.routing import Routes
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, RuleError
from opq_rules.values.batch import JsonObject

Rule = Annotated[
    Free,
    msgspec.Meta(
        examples=[
            {
                "id": "deep_dips",
                "sql": "SELECT box, rms FROM boxes WHERE rms < 100",
                "actions": [{"log": {}}],
                "options": {"qos": 1},
            }
        ]
    ),
]


def routes_of(engine: Engine) -> Routes:
    routes = Routes("rules")
    _whole(routes, engine)
    _one(routes, engine)
    _add_reads(routes, engine)
    _tagged(routes, engine)
    _keyed(routes, engine)
    return routes


# Methods of the engine and its views whose arguments are the path's are routes themselves.


def _whole(routes: Routes, engine: Engine) -> None:
    """Adds paths that concern several rules; they come before /rules/{id}."""

    @routes.post("/rules", 201)
    def create(body: Rule) -> str:
        rule_id = engine.create_rule(body)
        notes = "".join(f" Note: {each}." for each in engine.views.notes(rule_id))
        return f"Rule {rule_id} was created successfully.{notes}"

    @routes.post("/rules/validate")
    def validate(body: Rule) -> JsonObject:
        return engine.validate(body)

    routes.get("/rules")(engine.views.rules)
    routes.get("/rules/status/all")(engine.views.all_status)
    routes.get("/rules/usage/cpu")(engine.views.usage)

    @routes.get("/rules/tags/match")
    def tagged(body: TagKeys) -> list[str]:
        return engine.views.tagged(body.keys)

    @routes.post("/rules/bulkstart")
    def bulk_start(body: Tags) -> list[JsonObject]:
        return [_tried(engine.start_rule, rule_id) for rule_id in engine.views.tagged(body.tags)]

    @routes.post("/rules/bulkstop")
    def bulk_stop(body: Tags) -> list[JsonObject]:
        return [_tried(engine.stop_rule, rule_id) for rule_id in engine.views.tagged(body.tags)]


def _one(routes: Routes, engine: Engine) -> None:
    @routes.put("/rules/{rule_id}")
    def replace(rule_id: str, body: Rule) -> str:
        engine.replace_rule(rule_id, body)
        return f"Rule {rule_id} was updated successfully."

    routes.delete("/rules/{rule_id}")(engine.delete_rule)
    routes.post("/rules/{rule_id}/start")(engine.start_rule)
    routes.post("/rules/{rule_id}/stop")(engine.stop_rule)
    routes.post("/rules/{rule_id}/restart")(engine.restart_rule)

    @routes.put("/rules/{rule_id}/reset_state")
    def reset(rule_id: str, body: ResetState) -> str:
        stream = body.params.get("streamName")
        if not isinstance(stream, str) or "input" not in body.params:
            raise RuleError("params: want streamName and input, the offset to go on after", CONFIGURATION)
        return engine.reset_state(rule_id, stream, body.params["input"])


def _add_reads(routes: Routes, engine: Engine) -> None:
    views = engine.views
    routes.get("/rules/{rule_id}")(views.rule)
    routes.get("/rules/{rule_id}/status")(views.rule_status)
    routes.get("/v2/rules/{rule_id}/status")(views.rule_status)
    routes.get("/rules/{rule_id}/topo")(views.topo)
    routes.get("/rules/{rule_id}/explain")(views.explain)
    routes.get("/rules/{rule_id}/schema")(views.schema)
    routes.get("/rules/{rule_id}/scantables")(views.scan_tables)


def _tagged(routes: Routes, engine: Engine) -> None:
    @routes.put("/rules/{rule_id}/tags")
    def whole(rule_id: str, body: Tags) -> str:
        engine.set_tags(rule_id, body.tags, whole=True)
        return "success"

    @routes.patch("/rules/{rule_id}/tags")
    def more(rule_id: str, body: Tags) -> str:
        engine.set_tags(rule_id, body.tags)
        return "success"

    @routes.delete("/rules/{rule_id}/tags")
    def fewer(rule_id: str, body: TagKeys) -> str:
        engine.set_tags(rule_id, (), body.keys)
        return "success"


def _keyed(routes: Routes, engine: Engine) -> None:
    """Adds the paths of /keyed_state, which `get_keyed_state` reads."""

    @routes.get("/keyed_state")
    def values() -> JsonObject:
        return dict(engine.keyed_values.values)

    @routes.put("/keyed_state/{key}")
    def put(key: str, body: Annotated[Any, msgspec.Meta(examples=[108.0])]) -> str:
        engine.keyed_values.put(key, body)
        return f"Key {key} is set."

    @routes.delete("/keyed_state/{key}")
    def delete_key(key: str) -> str:
        engine.keyed_values.delete(key)
        return f"Key {key} is deleted."


def _tried(do: Any, rule_id: str) -> JsonObject:
    try:
        do(rule_id)
    except RuleError as error:
        return {"id": rule_id, "success": False, "error": str(error)}
    return {"id": rule_id, "success": True, "error": ""}

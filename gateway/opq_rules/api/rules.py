"""/rules and /keyed_state. Source: docs/reference/rules.md, A.3."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import PlainTextResponse

from opq_rules.api.bodies import Free, ResetState, TagKeys, Tags
from opq_rules.batch import JsonObject
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, RuleError

Rule = Annotated[
    Free,
    Body(
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


def router(engine: Engine) -> APIRouter:
    routes = APIRouter(tags=["rules"])
    _whole(routes, engine)
    _one(routes, engine)
    _add_reads(routes, engine)
    _tagged(routes, engine)
    _keyed(routes, engine)
    return routes


# Methods of the engine and its views whose arguments are the path's are routes themselves.


def _whole(routes: APIRouter, engine: Engine) -> None:
    """Adds paths that concern several rules; they come before /rules/{id}."""

    @routes.post("/rules", status_code=201)
    def create(body: Rule) -> PlainTextResponse:
        rule_id = engine.create_rule(body)
        notes = "".join(f" Note: {each}." for each in engine.views.notes(rule_id))
        return PlainTextResponse(f"Rule {rule_id} was created successfully.{notes}", 201)

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


def _one(routes: APIRouter, engine: Engine) -> None:
    @routes.put("/rules/{rule_id}")
    def replace(rule_id: str, body: Rule) -> PlainTextResponse:
        engine.replace_rule(rule_id, body)
        return PlainTextResponse(f"Rule {rule_id} was updated successfully.")

    routes.delete("/rules/{rule_id}", response_class=PlainTextResponse)(engine.delete_rule)
    routes.post("/rules/{rule_id}/start", response_class=PlainTextResponse)(engine.start_rule)
    routes.post("/rules/{rule_id}/stop", response_class=PlainTextResponse)(engine.stop_rule)
    routes.post("/rules/{rule_id}/restart", response_class=PlainTextResponse)(engine.restart_rule)

    @routes.put("/rules/{rule_id}/reset_state")
    def reset(rule_id: str, body: ResetState) -> PlainTextResponse:
        stream = body.params.get("streamName")
        if not isinstance(stream, str) or "input" not in body.params:
            raise RuleError("params: want streamName and input, the offset to go on after", CONFIGURATION)
        return PlainTextResponse(engine.reset_state(rule_id, stream, body.params["input"]))


def _add_reads(routes: APIRouter, engine: Engine) -> None:
    views = engine.views
    routes.get("/rules/{rule_id}")(views.rule)
    routes.get("/rules/{rule_id}/status")(views.rule_status)
    routes.get("/v2/rules/{rule_id}/status")(views.rule_status)
    routes.get("/rules/{rule_id}/topo")(views.topo)
    routes.get("/rules/{rule_id}/explain", response_class=PlainTextResponse)(views.explain)
    routes.get("/rules/{rule_id}/schema")(views.schema)
    routes.get("/rules/{rule_id}/scantables")(views.scan_tables)


def _tagged(routes: APIRouter, engine: Engine) -> None:
    @routes.put("/rules/{rule_id}/tags")
    def whole(rule_id: str, body: Tags) -> PlainTextResponse:
        engine.set_tags(rule_id, body.tags, whole=True)
        return PlainTextResponse("success")

    @routes.patch("/rules/{rule_id}/tags")
    def more(rule_id: str, body: Tags) -> PlainTextResponse:
        engine.set_tags(rule_id, body.tags)
        return PlainTextResponse("success")

    @routes.delete("/rules/{rule_id}/tags")
    def fewer(rule_id: str, body: TagKeys) -> PlainTextResponse:
        engine.set_tags(rule_id, (), body.keys)
        return PlainTextResponse("success")


def _keyed(routes: APIRouter, engine: Engine) -> None:
    """Adds the paths of /keyed_state, which `get_keyed_state` reads."""

    @routes.get("/keyed_state")
    def values() -> JsonObject:
        return dict(engine.keyed_values.values)

    @routes.put("/keyed_state/{key}")
    def put(key: str, body: Annotated[Any, Body(examples=[108.0])]) -> PlainTextResponse:
        engine.keyed_values.put(key, body)
        return PlainTextResponse(f"Key {key} is set.")

    @routes.delete("/keyed_state/{key}")
    def delete_key(key: str) -> PlainTextResponse:
        engine.keyed_values.delete(key)
        return PlainTextResponse(f"Key {key} is deleted.")


def _tried(do: Any, rule_id: str) -> JsonObject:
    try:
        do(rule_id)
    except RuleError as error:
        return {"id": rule_id, "success": False, "error": str(error)}
    return {"id": rule_id, "success": True, "error": ""}

"""The application: all routes over one engine and one plug-in host, without its guard."""

from collections.abc import Callable

from fastapi import FastAPI

from opq_plugins.host.plugins import Plugins
from opq_rules.api import (
    configs,
    configurations,
    connections,
    queries,
    rules,
    schemas,
    server,
    sets,
    streams,
    trials,
    uploads,
)
from opq_rules.api import plugins as plugin_routes
from opq_rules.api.errors import add_errors
from opq_rules.api.json_bodies import JsonBodies
from opq_rules.api.patience import Edge
from opq_rules.api.request_lines import RequestLines
from opq_rules.engine.engine import Engine


def create_app(
    engine: Engine,
    plugins: Plugins,
    stop: Callable[[], None] | None = None,
    edge: Edge | None = None,
) -> FastAPI:
    """`stop`: what POST /stop does; None: it is refused. `edge`: what /metrics tells of refused requests."""
    app = FastAPI(title="OPQ stream rules", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    add_errors(app)
    app.add_middleware(JsonBodies)
    app.add_middleware(RequestLines)
    app.include_router(server.router(app, engine, stop, edge or Edge()))
    app.include_router(configs.router(own_process=stop is not None))
    app.include_router(streams.router(engine))
    app.include_router(rules.router(engine))
    app.include_router(queries.router(engine))
    app.include_router(connections.router(engine))
    app.include_router(schemas.router(engine, plugins))
    app.include_router(plugin_routes.router(plugins))
    app.include_router(sets.router(engine, plugins))
    app.include_router(uploads.router(plugins))
    app.include_router(configurations.router(engine, plugins))
    app.include_router(trials.router(trials.Trials(engine)))
    return app

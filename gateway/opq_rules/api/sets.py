"""/ruleset/export and /ruleset/import: streams, tables, rules and their named properties, as one JSON text.

Source: docs/reference/rules.md, A.5.
"""

import threading
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from opq_plugins.host.plugins import Plugins
from opq_rules.api import exchange, sections
from opq_rules.api.bodies import RuleSet
from opq_rules.api.routing import Json, Routes
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, IO_ERROR, RuleError

MAX_FILE_BYTES = 16 << 20
"""Limit of an uploaded set."""


def routes_of(engine: Engine, plugins: Plugins) -> Routes:
    routes = Routes("sets")
    one_at_a_time = threading.Lock()

    @routes.post("/ruleset/export")
    def export_set() -> Response:
        headers = {"Content-Disposition": 'attachment; filename="rules.json"'}
        return Json(sections.everything(engine, plugins), headers=headers)

    @routes.post("/ruleset/import")
    def import_set(body: RuleSet, request: Request, dry: bool = False) -> exchange.Answer:
        if unknown := sorted(set(request.query_params) - {"dry"}):
            known = "an import is all or nothing; its only parameter is dry=1"
            raise RuleError(f"{', '.join(unknown)}: unknown; {known}", CONFIGURATION)
        found = sections.read(_content(body, plugins.uploads))
        with one_at_a_time:
            return exchange.import_set(engine, plugins, found, dry)

    return routes


def _content(body: RuleSet, uploads: Path) -> str:
    """The text in the body, or in an uploaded file."""
    if (body.content is None) == (body.file is None):
        raise RuleError("want either content or file", CONFIGURATION)
    if body.content is not None:
        return body.content
    path = Path((body.file or "").removeprefix("file://"))
    if not (body.file or "").startswith("file://") or path.parent != uploads:
        raise RuleError(f"file: want file://{uploads}/NAME, which POST /config/uploads makes", CONFIGURATION)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RuleError(f"{path.name} is longer than {MAX_FILE_BYTES} bytes", CONFIGURATION, 413)
        return path.read_text()
    except (OSError, UnicodeError) as error:
        raise RuleError(f"{path.name} cannot be read: {error}", IO_ERROR) from error

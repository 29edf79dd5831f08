"""PATCH /configs: what a running service lets change, until it ends. Source: reference/rules.md, A.1.

Log and time zone are of the whole process. Where the engine is part of another service they are that one's.
"""

import os
import time
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter
from fastapi.responses import Response

from opq_proto import log
from opq_proto.settings import configured
from opq_rules.api.bodies import Free, Running
from opq_rules.errors import CONFIGURATION, RuleError


def router(own_process: bool) -> APIRouter:
    routes = APIRouter(tags=["server"])

    @routes.patch("/configs", status_code=204)
    def change(body: Free) -> Response:
        wanted = _checked(body)
        if body and not own_process:
            told = f"{', '.join(body)}: of the service that this engine is part of; set it there"
            raise RuleError(told, CONFIGURATION)
        if wanted.timezone is not None:
            _set_zone(wanted.timezone)
        if wanted.debug is not None:
            log.configure("rules", "debug" if wanted.debug else None)
        return Response(status_code=204)

    return routes


def _checked(body: Free) -> Running:
    """Raises RuleError with every problem."""
    try:
        wanted: Running = configured(Running, body)
    except ValueError as error:
        raise RuleError(str(error), CONFIGURATION) from error
    if wanted.consoleLog is False or wanted.fileLog is True:
        told = "consoleLog, fileLog: want true and false; the log goes to stderr, and on from there"
        raise RuleError(told, CONFIGURATION)
    return wanted


def _set_zone(name: str) -> None:
    """Raises RuleError where there is no such zone, or the C library does not find it."""
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        told = f"timezone  is {name[:80]!r}; want one of the machine's, such as UTC or Pacific/Honolulu"
        raise RuleError(told, CONFIGURATION) from None
    before = os.environ.get("TZ")
    _use(name)
    now_s = time.time()
    if time.localtime(now_s).tm_gmtoff != datetime.fromtimestamp(now_s, zone).utcoffset().total_seconds():  # type: ignore[union-attr]
        _use(before)
        raise RuleError(f"timezone  is {name!r}, which is not installed here (tzdata)", CONFIGURATION)


def _use(name: str | None) -> None:
    if name is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = name
    time.tzset()

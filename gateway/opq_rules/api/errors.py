"""Every refusal as `{"error": code, "message": text}`, with the place for SQL.

Source: reference/rules.md, A.0.
"""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from opq_proto import log
from opq_rules.api.guard import TooLongError
from opq_rules.errors import CONFIGURATION, ENCODING, NOT_FOUND, UNDEFINED, RuleError

_OTHERS = {
    400: (ENCODING, "the body cannot be read as JSON"),
    404: (NOT_FOUND, "there is nothing at this path"),
}


def add_errors(app: FastAPI) -> None:
    """Handlers for what the engine refuses, for bodies that are none, and for our own faults."""
    telling = log.get(service="rules-api")

    def on_rule(request: Request, error: Exception) -> Response:
        assert isinstance(error, RuleError)
        return JSONResponse(error.as_json(), error.http)

    def on_body(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"] if each != "body") or "body"
        if first["type"] == "json_invalid":
            why = first.get("ctx", {}).get("error", first["msg"])
            text = f"the body is no JSON: {why} at character {place}"
            return JSONResponse({"error": ENCODING, "message": text}, 400)
        found = f"; found {str(first.get('input'))[:100]!r}" if first["type"] != "missing" else ""
        return JSONResponse({"error": CONFIGURATION, "message": f"{place}: {first['msg']}{found}"}, 400)

    def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, text = _OTHERS.get(error.status_code, (UNDEFINED, str(error.detail)))
        told = {"error": code, "message": f"{request.method} {request.url.path[:200]}: {text}"}
        return JSONResponse(told, error.status_code, error.headers)

    def on_fault(request: Request, error: Exception) -> Response:
        if isinstance(error, TooLongError):
            return Response(status_code=413)
        telling.error("request.failed", method=request.method, path=request.url.path[:200], exc_info=error)
        return JSONResponse({"error": UNDEFINED, "message": "a fault of ours; the log has it"}, 500)

    app.add_exception_handler(RuleError, on_rule)
    app.add_exception_handler(RequestValidationError, on_body)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_fault)

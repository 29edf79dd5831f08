"""/config/uploads: files for plug-ins and sets, in one folder. Source: docs/reference/rules.md, A.5.

curl -F uploadFile=@mysqlSink.zip http://127.0.0.1:9081/config/uploads
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from opq_plugins.host.plugins import Plugins
from opq_proto.kit.whole_file import PRIVATE_MODE, private_folder, write_whole_file
from opq_rules.api.bodies import UploadText
from opq_rules.engine.definitions.rule_definition import checked_id
from opq_rules.errors import CONFIGURATION, IO_ERROR, NOT_FOUND, RuleError

LARGEST_BYTES = 64 << 20
"""Limit of a fetched file; an uploaded one is limited as a request's body."""
FIELD = "uploadFile"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An upload: `content`, or `file`, from where to fetch it: http(s)://... or file:///<uploads>/x.zip."""

    name: str
    content: bytes = b""
    file: str | None = None


async def uploaded(request: Request) -> Uploaded:
    """Reads an upload. Raises RuleError, or RequestValidationError where the JSON has a wrong form."""
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        return await _of_form(request)
    try:
        read = UploadText.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    if (read.content is None) == (read.file is None):
        raise RuleError("want either content or file", CONFIGURATION)
    return Uploaded(read.name, (read.content or "").encode(), read.file)


async def _of_form(request: Request) -> Uploaded:
    """The file in a multipart body, as bytes that browsers and curl send unchanged."""
    try:
        async with request.form(max_files=1) as form:
            file = form.get(FIELD)
            if isinstance(file, UploadFile):
                return Uploaded(file.filename or "", await file.read())
    except HTTPException as error:
        raise RuleError(f"the form cannot be read: {error.detail}", CONFIGURATION) from error
    raise RuleError(f"the form has no file {FIELD}; want curl -F {FIELD}=@FILE", CONFIGURATION)


def router(plugins: Plugins) -> APIRouter:
    routes = APIRouter(tags=["uploads"])
    folder = plugins.uploads

    @routes.post("/config/uploads", status_code=201)
    def upload(body: Annotated[Uploaded, Depends(uploaded)]) -> PlainTextResponse:
        path = folder / _file_name(body.name)
        content = plugins.fetched(body.file, LARGEST_BYTES) if body.file is not None else body.content
        try:
            private_folder(folder)
            write_whole_file(path, [content], PRIVATE_MODE)
        except OSError as error:
            raise RuleError(f"{path.name} cannot be stored: {error.strerror or error}", IO_ERROR) from error
        return PlainTextResponse(str(path), 201)

    @routes.get("/config/uploads")
    def uploads() -> list[str]:
        return sorted(str(path) for path in folder.glob("[!.]*") if path.is_file()) if folder.is_dir() else []

    @routes.delete("/config/uploads/{name}")
    def delete(name: str) -> PlainTextResponse:
        path = folder / _file_name(name)
        if not path.is_file():
            raise RuleError(f"upload {name[:80]!r} is not found", NOT_FOUND, 404)
        path.unlink()
        return PlainTextResponse("ok")

    return routes


def _file_name(name: str) -> str:
    """Checks the name: letters, digits, `_`, `-`, and dots in between."""
    try:
        for part in name.split("."):
            checked_id("upload", part)
    except RuleError:
        wanted = "want letters, digits, '_' and '-', with single dots in between"
        raise RuleError(f"upload {name[:128]!r} cannot be named so: {wanted}", CONFIGURATION) from None
    return name

"""/config/uploads: files for plug-ins and sets, in one folder. Source: docs/reference/rules.md, A.5.

curl -F uploadFile=@mysqlSink.zip http://127.0.0.1:9081/config/uploads
"""

from dataclasses import dataclass

import msgspec
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from opq_plugins.host.plugins import Plugins
from opq_proto.kit.whole_file import PRIVATE_MODE, private_folder, write_whole_file
from opq_rules.api.bodies import UploadText
from opq_rules.api.routing import Routes, read_json
from opq_rules.engine.definitions.rule_definition import checked_id
from opq_rules.errors import CONFIGURATION, IO_ERROR, NOT_FOUND, RuleError

LARGEST_BYTES = 64 << 20
"""Limit of a fetched file; an uploaded one is limited as a request's body."""
FIELD = "uploadFile"
_TEXT = msgspec.json.Decoder(UploadText)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An upload: `content`, or `file`, from where to fetch it: http(s)://... or file:///<uploads>/x.zip."""

    name: str
    content: bytes = b""
    file: str | None = None


async def uploaded(request: Request) -> Uploaded:
    """Reads an upload. Raises RuleError."""
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        return await _of_form(request)
    read = read_json(await request.body(), _TEXT)
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


def routes_of(plugins: Plugins) -> Routes:
    routes = Routes("uploads")
    folder = plugins.uploads

    @routes.post("/config/uploads", 201, read=uploaded)
    def upload(body: Uploaded) -> str:
        path = folder / _file_name(body.name)
        content = plugins.fetched(body.file, LARGEST_BYTES) if body.file is not None else body.content
        try:
            private_folder(folder)
            write_whole_file(path, [content], PRIVATE_MODE)
        except OSError as error:
            raise RuleError(f"{path.name} cannot be stored: {error.strerror or error}", IO_ERROR) from error
        return str(path)

    @routes.get("/config/uploads")
    def uploads() -> list[str]:
        return sorted(str(path) for path in folder.glob("[!.]*") if path.is_file()) if folder.is_dir() else []

    @routes.delete("/config/uploads/{name}")
    def delete(name: str) -> str:
        path = folder / _file_name(name)
        if not path.is_file():
            raise RuleError(f"upload {name[:80]!r} is not found", NOT_FOUND, 404)
        path.unlink()
        return "ok"

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

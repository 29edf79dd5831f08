"""/config/uploads: files for plug-ins, sets and schemas, in one folder. Source: reference/rules.md, A.5."""

import os
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse

from opq_plugins.host.plugins import Plugins
from opq_rules.api.uploading import Uploaded, uploaded
from opq_rules.engine.ids import checked_id
from opq_rules.errors import CONFIGURATION, IO_ERROR, NOT_FOUND, RuleError

LARGEST_BYTES = 64 << 20
"""Of a file that is fetched; one that comes along is a request's body."""


def router(plugins: Plugins) -> APIRouter:
    routes = APIRouter(tags=["uploads"])
    folder = plugins.uploads

    @routes.post("/config/uploads", status_code=201)
    def upload(body: Annotated[Uploaded, Depends(uploaded)]) -> PlainTextResponse:
        path = folder / _file_name(body.name)
        content = plugins.fetched(body.file, LARGEST_BYTES) if body.file is not None else body.content
        part = folder / f".{path.name}.{os.urandom(6).hex()}.part"  # two may bring the same name at once
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise RuleError(f"{path.name} cannot be stored: {error.strerror}", IO_ERROR) from error
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
    """Letters, digits, `_`, `-`, and dots in between."""
    try:
        for part in name.split("."):
            checked_id("upload", part)
    except RuleError:
        wanted = "want letters, digits, '_' and '-', with single dots in between"
        raise RuleError(f"upload {name[:128]!r} cannot be named so: {wanted}", CONFIGURATION) from None
    return name

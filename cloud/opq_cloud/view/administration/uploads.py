"""Forms with a file (multipart/form-data): read whole within a limit, checked for their origin as every form.

A file's name is never used as a path: what is stored is named by its content.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage

import anyio.to_thread
from fastapi import HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from opq_cloud.view.accounts.forms import (
    BROKEN_OFF,
    EXPIRED,
    FORM_TYPE,
    MAX_FIELDS,
    SentForm,
    read_form,
    visitor_after_body,
)
from opq_cloud.view.accounts.visitors import VISITOR, Visitor

UPLOAD_TYPE = "multipart/form-data"
FIELD_BYTES = 16_384
"""The limit of the other fields, in addition to the file's."""


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of a form."""

    name: str
    """The browser's name of it, without folders; only for messages."""
    content: bytes


class SentUpload(SentForm):
    """The fields of a form, and its files."""

    def __init__(self, fields: Mapping[str, str], files: Mapping[str, SentFile]) -> None:
        super().__init__(fields)
        self._files = files

    def file(self, name: str) -> SentFile | None:
        """The file of a field; None where none was chosen."""
        return self._files.get(name)


UploadHandler = Callable[[Request, Visitor, SentUpload], Response]


def upload_route(handler: UploadHandler, most_bytes: int) -> Callable[[Request], Awaitable[Response]]:
    """Like `forms.form_route`, for a form that may bring files of `most_bytes` in total."""

    async def endpoint(request: Request) -> Response:
        if not VISITOR.get().session_hash:
            raise HTTPException(401, "Sign in first.")
        form = await read_upload(request, most_bytes)
        visitor = await visitor_after_body(request)
        if not visitor.accepts_form(form.text("form_token")):
            raise HTTPException(403, EXPIRED)
        return await anyio.to_thread.run_sync(handler, request, visitor, form)

    endpoint.__name__ = getattr(handler, "__name__", "upload")
    return endpoint


async def read_upload(request: Request, most_bytes: int) -> SentUpload:
    """Reads a form. A body that is too large is not read to its end.

    Raises HTTPException 413, 415 or 400 with the reason.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() == FORM_TYPE:
        plain = await read_form(request)
        return SentUpload(plain.fields, {})
    if kind.partition(";")[0].strip().lower() != UPLOAD_TYPE:
        raise HTTPException(415, f"A form is sent as {FORM_TYPE} or {UPLOAD_TYPE}.")
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > most_bytes + FIELD_BYTES:
                raise HTTPException(413, f"The file is too large; it has {most_bytes} bytes at most.")
    except ClientDisconnect:
        raise HTTPException(400, BROKEN_OFF) from None
    return await anyio.to_thread.run_sync(parse_upload, kind, bytes(body))


def parse_upload(kind: str, body: bytes) -> SentUpload:
    """The parts of a multipart body. Raises HTTPException 400 where it is not one.

    Browsers send the bytes of a file unchanged (RFC 7578, 4.7).
    """
    head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1", "replace")
    message = message_from_bytes(head + body, policy=policy.HTTP)
    parts = list(message.iter_parts()) if message.is_multipart() else []
    if not parts or len(parts) > MAX_FIELDS:
        raise HTTPException(400, "This is no form.")
    fields: dict[str, str] = {}
    files: dict[str, SentFile] = {}
    for part in parts:
        assert isinstance(part, EmailMessage)
        name, content = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            continue
        file_name = part.get_filename()
        if file_name is None:
            fields[name] = content[:FIELD_BYTES].decode("utf-8", "replace")
        elif file_name and content:
            files[name] = SentFile(_last_part(str(file_name)), content)
    return SentUpload(fields, files)


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2][:100]

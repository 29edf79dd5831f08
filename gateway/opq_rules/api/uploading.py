"""What POST /config/uploads brings: `{"name", "content"}`, or a form with one file, `uploadFile`.

curl -F uploadFile=@mysqlSink.zip http://127.0.0.1:9081/config/uploads
"""

from email import message_from_bytes, policy

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from opq_rules.api.bodies import Upload
from opq_rules.errors import CONFIGURATION, RuleError

FIELD = "uploadFile"


async def uploaded(request: Request) -> tuple[str, bytes]:
    """Name and content. Raises RuleError, or RequestValidationError where JSON lacks something."""
    content, kind = await request.body(), request.headers.get("content-type", "")
    if kind.lower().startswith("multipart/"):
        return of_form(kind, content)
    try:
        read = Upload.model_validate_json(content)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    return read.name, read.content.encode()


def of_form(kind: str, content: bytes, field: str = FIELD) -> tuple[str, bytes]:
    """The file of a multipart body. Browsers and curl send its bytes as they are."""
    head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1", "replace")
    for part in message_from_bytes(head + content, policy=policy.HTTP).iter_parts():
        if part.get_param("name", header="content-disposition") == field and part.get_filename():
            body = part.get_payload(decode=True)
            return str(part.get_filename()), body if isinstance(body, bytes) else b""
    raise RuleError(f"the form has no file {field}; want curl -F {field}=@FILE", CONFIGURATION)

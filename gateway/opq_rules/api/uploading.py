"""What POST /config/uploads brings: `name` with `content` or `file`, or a form with one file, `uploadFile`.

curl -F uploadFile=@mysqlSink.zip http://127.0.0.1:9081/config/uploads
"""

from dataclasses import dataclass
from email import message_from_bytes, policy

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from opq_rules.api.bodies import Upload
from opq_rules.errors import CONFIGURATION, RuleError

FIELD = "uploadFile"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """`content`, or where `file` says that it is: http(s)://... or file:///<uploads>/x.zip."""

    name: str
    content: bytes = b""
    file: str | None = None


async def uploaded(request: Request) -> Uploaded:
    """Raises RuleError, or RequestValidationError where JSON is not what is wanted."""
    content, kind = await request.body(), request.headers.get("content-type", "")
    if kind.lower().startswith("multipart/"):
        return Uploaded(*of_form(kind, content))
    try:
        read = Upload.model_validate_json(content)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    if (read.content is None) == (read.file is None):
        raise RuleError("want content or file, and one of them", CONFIGURATION)
    return Uploaded(read.name, (read.content or "").encode(), read.file)


def of_form(kind: str, content: bytes, field: str = FIELD) -> tuple[str, bytes]:
    """The file of a multipart body. Browsers and curl send its bytes as they are."""
    head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1", "replace")
    for part in message_from_bytes(head + content, policy=policy.HTTP).iter_parts():
        if part.get_param("name", header="content-disposition") == field and part.get_filename():
            body = part.get_payload(decode=True)
            return str(part.get_filename()), body if isinstance(body, bytes) else b""
    raise RuleError(f"the form has no file {field}; want curl -F {field}=@FILE", CONFIGURATION)

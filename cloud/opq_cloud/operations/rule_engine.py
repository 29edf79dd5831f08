"""A rule engine for View's pages: calls its REST with its token.

The token is in the file that the configuration names, else in the one that an engine of this machine names.

The requests are the same as those of `opq-tools plugin` and `opq-tools rules`.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlsplit

from opq_proto.errors import OpqError
from opq_proto.keys.rest_token import CHALLENGE, UnprovedError, new_challenge, proved_token
from opq_proto.kit.http_client import send_request
from opq_proto.kit.origin_guard import is_loopback

ANSWER_S = 5.0
CHANGE_S = 120.0
"""Long, because a plug-in is tested before it takes over."""
MAX_BYTES = 8 * 2**20


class EngineError(OpqError):
    """An engine did not carry out a request: it is silent, or it refused."""


class EngineSilentError(EngineError):
    """No engine answers at that address."""


class EngineRefusedError(EngineError):
    """The engine refuses: its text and its HTTP status."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """One engine of the configuration."""

    name: str
    url: str
    token_file: Path | None = None


class RuleEngine:
    """The REST of one engine; methods raise EngineError."""

    def __init__(self, address: EngineAddress) -> None:
        self.address = address

    def request(self, method: str, path: str, body: object = None, wait_s: float = ANSWER_S) -> object:
        """The engine's answer: a JSON answer as objects, any other as text."""
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        return self._send(method, path, data, "application/json", wait_s)

    def upload(self, content: bytes) -> str:
        """Uploads a file under a random name. Returns the engine's path of it."""
        name, mark = f"view-{secrets.token_hex(8)}.zip", secrets.token_hex(16)
        head = f'--{mark}\r\nContent-Disposition: form-data; name="uploadFile"; filename="{name}"\r\n'
        kind = "Content-Type: application/zip\r\n\r\n"
        body = f"{head}{kind}".encode() + content + f"\r\n--{mark}--\r\n".encode()
        found = self._send("POST", "/config/uploads", body, f"multipart/form-data; boundary={mark}", CHANGE_S)
        return str(found)

    def remove_upload(self, path: str) -> None:
        self.request("DELETE", f"/config/uploads/{quote(Path(path).name, safe='')}")

    def _send(self, method: str, path: str, data: bytes | None, kind: str, wait_s: float) -> object:
        url = self.address.url.rstrip("/")
        headers = {} if data is None else {"Content-Type": kind}
        try:
            headers |= self._authorization(url, wait_s)
            answer = send_request(
                url + path, wait_s, method=method, body=data, headers=headers, most_bytes=MAX_BYTES
            )
            if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise refusal_of(answer.status, answer.content)
            is_json = answer.kind.startswith("application/json")
            return json.loads(answer.content) if is_json else answer.content.decode("utf-8", "replace")
        except UnprovedError as error:
            raise EngineSilentError(f"{self.address.url}: {error}") from error
        except (OSError, ValueError) as error:
            raise EngineSilentError(f"no rule engine answers at {self.address.url}: {error}") from error

    def _authorization(self, url: str, wait_s: float) -> dict[str, str]:
        """The header with the token. At an address of this machine, the program there proves first that it
        has the token (`rest_token`).

        Raises:
            EngineRefusedError: no token is known; the engine's refusal says where it is.
        """
        file = self.address.token_file
        token = None if file is None else file.read_text().strip()
        place = urlsplit(url)
        if is_loopback(place.netloc):
            challenge, port = new_challenge(), place.port or (443 if place.scheme == "https" else 80)
            answer = send_request(f"{url}/", wait_s, headers={CHALLENGE: challenge}, most_bytes=MAX_BYTES)
            if answer.status != HTTPStatus.UNAUTHORIZED:
                raise UnprovedError(f"the program at port {port} is not a rule engine of this project")
            token = proved_token(answer.content, challenge, port, token)
            if token is None:
                raise refusal_of(answer.status, answer.content)
        return {} if token is None else {"Authorization": f"Bearer {token}"}


def refusal_of(code: int, content: bytes) -> EngineRefusedError:
    """The error that an engine's answer with this status states."""
    try:
        body = json.loads(content)
        text = str(body["message"])
    except (ValueError, KeyError, TypeError):
        return EngineRefusedError(f"the engine answers {code}", code)
    if isinstance(body, Mapping) and body.get("hint"):
        text += f"; {body['hint']}"
    return EngineRefusedError(text, code)

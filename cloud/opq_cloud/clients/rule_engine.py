"""A rule engine for View's pages: calls its REST with its token.

The token is in the file that the configuration names, else in the one that an engine of this machine names.

The requests are the same as those of `opq-tools plugin` and `opq-tools rules`.
"""

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote, urlsplit

from opq_proto.errors import OpqError
from opq_proto.keys.rest_token import named_token
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
        self._token: str | None = None
        """The one that an engine of this machine has named."""

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
        headers = {} if data is None else {"Content-Type": kind}
        try:
            headers |= self._authorization()
            url = self.address.url.rstrip("/") + path
            request = urllib.request.Request(url, data, headers, method=method)
            with urllib.request.urlopen(request, timeout=wait_s) as answer:
                content = answer.read(MAX_BYTES)
                is_json = str(answer.headers.get("Content-Type", "")).startswith("application/json")
                return json.loads(content) if is_json else content.decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            refused = _content(error)
            if error.code == 401 and self._learns_token(refused):
                return self._send(method, path, data, kind, wait_s)
            raise refusal_of(error.code, refused) from error
        except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise EngineSilentError(f"no rule engine answers at {self.address.url}: {reason}") from error

    def _authorization(self) -> dict[str, str]:
        token, file = self._token, self.address.token_file
        if file is not None:
            token = file.read_text().strip()
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def _learns_token(self, refused: bytes) -> bool:
        """Reads the token from the file that the refusal names, if the engine runs on this machine.

        Returns False if no token was read.
        """
        own = self.address.token_file is None and self._token is None
        if own and is_loopback(urlsplit(self.address.url).netloc):
            self._token = named_token(refused)
            return self._token is not None
        return False


def _content(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(MAX_BYTES)
    except OSError:
        return b""


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

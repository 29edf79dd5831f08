"""A rule engine as View's pages see it: its REST, with the token that the configuration names.

The same requests as `opq-tools plugin` and `opq-tools rule` make.
"""

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote

from opq_proto.errors import OpqError

LOOK_S = 5.0
CHANGE_S = 120.0
"""A plug-in is tried before it takes over."""
MOST_BYTES = 8 * 2**20


class EngineSilentError(OpqError):
    """No engine answers at that address."""


class EngineRefusedError(OpqError):
    """The engine says no: what it says, and where in the SQL, where that is known."""

    def __init__(self, text: str, code: int, line: int | None = None, column: int | None = None) -> None:
        super().__init__(text)
        self.code, self.line, self.column = code, line, column


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """One engine of the configuration."""

    name: str
    url: str
    token_file: Path | None = None


class RuleEngine:
    """Methods raise EngineSilentError and EngineRefusedError."""

    def __init__(self, address: EngineAddress) -> None:
        self.address = address

    def request(self, method: str, path: str, body: object = None, wait_s: float = LOOK_S) -> object:
        """JSON as objects, anything else as text."""
        data = None if body is None else json.dumps(body).encode()
        return self._asked(method, path, data, "application/json", wait_s)

    def upload(self, content: bytes) -> str:
        """Where the engine has put it, under a name that nobody chose."""
        name, mark = f"view-{secrets.token_hex(8)}.zip", secrets.token_hex(16)
        head = f'--{mark}\r\nContent-Disposition: form-data; name="uploadFile"; filename="{name}"\r\n'
        kind = "Content-Type: application/zip\r\n\r\n"
        body = f"{head}{kind}".encode() + content + f"\r\n--{mark}--\r\n".encode()
        found = self._asked(
            "POST", "/config/uploads", body, f"multipart/form-data; boundary={mark}", CHANGE_S
        )
        return str(found)

    def remove_upload(self, path: str) -> None:
        self.request("DELETE", f"/config/uploads/{quote(Path(path).name, safe='')}")

    def _asked(self, method: str, path: str, data: bytes | None, kind: str, wait_s: float) -> object:
        headers = {} if data is None else {"Content-Type": kind}
        try:
            if self.address.token_file is not None:
                headers["Authorization"] = f"Bearer {self.address.token_file.read_text().strip()}"
            url = self.address.url.rstrip("/") + path
            request = urllib.request.Request(url, data, headers, method=method)
            with urllib.request.urlopen(request, timeout=wait_s) as answer:
                content = answer.read(MOST_BYTES)
                is_json = str(answer.headers.get("Content-Type", "")).startswith("application/json")
                return json.loads(content) if is_json else content.decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise EngineSilentError(f"no rule engine answers at {self.address.url}: {reason}") from error


def _refusal(error: urllib.error.HTTPError) -> EngineRefusedError:
    try:
        said = json.loads(error.read(MOST_BYTES))
        text = str(said["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return EngineRefusedError(f"the engine answers {error.code}", error.code)
    if isinstance(said, Mapping) and said.get("hint"):
        text += f"; {said['hint']}"
    line, column = said.get("line"), said.get("column")
    known = isinstance(line, int) and isinstance(column, int)
    return EngineRefusedError(text, error.code, line if known else None, column if known else None)

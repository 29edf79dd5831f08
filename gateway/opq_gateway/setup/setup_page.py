"""The set-up page: Wi-Fi and Boxes over HTTP, with the original's routes (docs/reference/opq-interop.md F.6).

    GET  /            the page: one file, nothing from elsewhere
    GET  /box_config  {"box_config": {...}}; ?box=ID for another Box than the first
    GET  /version     {"version": 100, "text": "0.1.0"}
    GET  /ssids       {"ssids": [[name, signal_percent, security, in_use], ...]}
    GET  /opq.ico     an icon
    GET  /state, /meaning   ours: everything that changes; what each counter means
    POST /connect     {"ssid": ..., "password": ...}
    POST /box_config  {"box_config": "<JSON text>"}
    POST /box_update  {}
    POST /claim_code  ours: {"box": ID}, a code by which its owner claims it in View
    POST /session     ours: {"link": ...}, of `setup_links`; {"key": ...} for the header Opq-Setup

Errors are {"error": msg}: 500 as in the original, 404 for what is unknown.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from opq_gateway.commands.claim_codes import ClaimCodes
from opq_gateway.commands.setup_links import SetupLinks
from opq_gateway.counters import MEANING
from opq_gateway.setup.networks import Network, Secret
from opq_gateway.setup.nmcli import WifiError
from opq_gateway.setup.state import SetupState, version_number
from opq_gateway.setup.wifi import Wifi
from opq_gateway.software_version import software_version
from opq_proto.errors import OpqError
from opq_proto.kit.http_server import Reply
from opq_proto.link.box_losses import LOSS_WORDS

NO_WIFI = "this gateway does not manage Wi-Fi: setup.wifi is off"
NO_UPDATE = (
    "firmware comes signed, from the cloud or by: opq-tools flash; the gateway's own software by: "
    "pip install --upgrade 'opq-toolkit[gateway]'"
)


class SetupPage:
    """Answers each route; without a socket."""

    def __init__(
        self,
        shown: SetupState,
        wifi: Wifi | None,
        save: Callable[[Mapping[str, Any]], bool],
        links: SetupLinks,
        claims: ClaimCodes | None = None,
    ) -> None:
        """`save` stores settings, and returns whether the gateway restarts by itself; it raises OpqError and
        OSError."""
        folder = resources.files("opq_gateway.setup")
        self._page = (folder / "page.html").read_bytes()
        self._icon = (folder / "opq.ico").read_bytes()
        self.policy = _policy(self._page.decode())
        self._shown = shown
        self._wifi = wifi
        self._save = save
        self._links = links
        self._claims = claims

    def get(self, path: str, query: Mapping[str, list[str]]) -> Reply:
        """Answers a GET."""
        if path in ("/", "/index.html"):
            return 200, "text/html; charset=utf-8", self._page
        if path in ("/opq.ico", "/favicon.ico"):
            return 200, "image/x-icon", self._icon
        if path == "/state":
            return _json(self._shown.state())
        if path == "/meaning":
            return _json({**MEANING, **{f"box_lost_{name}": words for name, words in LOSS_WORDS.items()}})
        if path == "/version":
            text = software_version()
            return _json({"version": version_number(text), "text": text})
        if path == "/ssids":
            return self._ssids()
        if path == "/box_config":
            try:
                return _json({"box_config": self._shown.box_config(query.get("box", [None])[0])})
            except KeyError as problem:
                return error(f"no Box {problem.args[0]} here", 404)
        return error("not found", 404)

    def post(self, path: str, body: bytes) -> Reply:
        """Answers a POST whose body the guard accepted."""
        actions = {
            "/connect": self._connect,
            "/box_config": self._box_config,
            "/box_update": self._box_update,
            "/claim_code": self._claim_code,
            "/session": self._session,
        }
        action = actions.get(path)
        if action is None:
            return error("not found", 404)
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return error("the body is not JSON")
        if not isinstance(document, dict):
            return error("want a JSON object")
        return action(document)

    def _ssids(self) -> Reply:
        if self._wifi is None:
            return error(NO_WIFI)
        try:
            return _json({"ssids": [_listed(network) for network in self._wifi.networks()]})
        except WifiError as problem:
            return error(str(problem))

    def _connect(self, document: Mapping[str, Any]) -> Reply:
        if self._wifi is None:
            return error(NO_WIFI)
        ssid, password = _ssid_of(document), document.get("password") or None
        if ssid is None or not isinstance(password, str | None):
            return error("want ssid and password as text")
        reason = self._wifi.join(ssid, None if password is None else Secret(password))
        return _json({"state": self._wifi.state}) if reason is None else error(reason)

    def _box_config(self, document: Mapping[str, Any]) -> Reply:
        text = document.get("box_config")
        try:
            settings = json.loads(text) if isinstance(text, str) else text
            if not isinstance(settings, dict):
                raise ValueError("want a JSON object")
            known = self._shown.box_config(str(settings["box_id"]) if "box_id" in settings else None)
        except (ValueError, RecursionError):
            return error("box_config: want the JSON text of an object")
        except KeyError as problem:
            return error(f"no Box {problem.args[0]} here")
        changed = {key: value for key, value in settings.items() if key not in known or known[key] != value}
        if not changed:
            return _json({"saved": True, "restarts": False})
        try:
            return _json({"saved": True, "restarts": self._save(changed)})
        except (OpqError, OSError) as problem:
            return error(str(problem))

    def _claim_code(self, document: Mapping[str, Any]) -> Reply:
        if self._claims is None:
            return error("this gateway does not make claim codes", 404)
        box_id = document.get("box")
        try:
            made = self._claims.make(box_id if isinstance(box_id, str) else "")
        except KeyError:
            return error(f"want box, one of {', '.join(self._claims.box_ids)}", 404)
        return _json({"box_id": made.box_id, "code": made.code, "valid_s": round(made.left_s)})

    def _session(self, document: Mapping[str, Any]) -> Reply:
        link = document.get("link")
        key = self._links.use(link) if isinstance(link, str) else None
        if key is None:
            return error("this link was used, or is older than ten minutes; opq-gateway setup-link", 403)
        return _json({"key": key})

    def _box_update(self, document: Mapping[str, Any]) -> Reply:
        return error(NO_UPDATE)


def _policy(page: str) -> str:
    """A content security policy: only the page's script and style run, identified by their hashes."""
    parts = ["default-src 'none'", "img-src 'self' data:", "connect-src 'self'", "base-uri 'none'"]
    parts += ["form-action 'none'", "frame-ancestors 'none'"]
    for tag in ("script", "style"):
        match = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        if match is not None:
            digest = base64.b64encode(hashlib.sha256(match.group(1).encode()).digest()).decode()
            parts.append(f"{tag}-src 'sha256-{digest}'")
    return "; ".join(parts)


def _listed(network: Network) -> list[object]:
    """A network's row; its name as text, with bytes that are not UTF-8 as lone surrogates, which JSON returns
    unchanged."""
    name = network.ssid.decode("utf-8", "surrogateescape")
    return [name, network.signal_percent, network.security, network.in_use]


def _ssid_of(document: Mapping[str, Any]) -> bytes | None:
    ssid = document.get("ssid")
    if not isinstance(ssid, str):
        return None
    try:
        return ssid.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None


def _json(document: object, status: int = 200) -> Reply:
    return status, "application/json", json.dumps(document).encode()


def error(text: str, status: int = 500) -> Reply:
    return _json({"error": text}, status)

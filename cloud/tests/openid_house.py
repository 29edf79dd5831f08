"""An OpenID Connect provider on loopback: discovery, keys, sign-in without a page, tokens held to PKCE.

A test changes what its ID tokens say, or who signs them, by `claims`, `signer` and `algorithm`.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)

CLIENT, SECRET = "opq-view", "a client's secret"


class OpenIdHouse:
    """Used with `with`."""

    def __init__(self) -> None:
        self.key = self.signer = self.drawn_key()
        self.key_id, self.algorithm = "first", "ES256"
        self.claims: dict[str, Any] = {"sub": "ada", "email": "ada@example.org", "email_verified": True}
        self.asked: dict[str, int] = {}
        self._codes: dict[str, dict[str, str]] = {}
        house = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                house.answer(self, "")

            def do_POST(self) -> None:
                house.answer(self, self.rfile.read(int(self.headers["Content-Length"])).decode())

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @staticmethod
    def drawn_key() -> EllipticCurvePrivateKey:
        return generate_private_key(SECP256R1())

    def __enter__(self) -> "OpenIdHouse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()

    def new_key(self, key_id: str) -> None:
        self.key = self.signer = self.drawn_key()
        self.key_id = key_id

    def answer(self, request: BaseHTTPRequestHandler, body: str) -> None:
        parts = urlsplit(request.path)
        self.asked[parts.path] = self.asked.get(parts.path, 0) + 1
        match parts.path:
            case "/.well-known/openid-configuration":
                paths = {"authorization": "authorize", "token": "token"}
                found = {f"{name}_endpoint": f"{self.issuer}/{path}" for name, path in paths.items()}
                self._send(request, 200, {**found, "issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"})
            case "/keys":
                public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
                self._send(request, 200, {"keys": [{**public, "kid": self.key_id, "use": "sig"}]})
            case "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                code = secrets.token_urlsafe()
                self._codes[code] = asked
                request.send_response(302)
                back = urlencode({"code": code, "state": asked["state"]})
                request.send_header("Location", f"{asked['redirect_uri']}?{back}")
                request.end_headers()
            case "/token":
                self._token(request, {name: values[0] for name, values in parse_qs(body).items()})
            case _:
                self._send(request, 404, {})

    def _token(self, request: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        asked = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        basic = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if request.headers["Authorization"] not in (basic, f"Basic {_quoted_basic()}"):
            self._send(request, 401, {"error": "invalid_client"})
        elif (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            self._send(request, 400, {"error": "invalid_grant"})
        else:
            now = int(time.time())
            whole = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300,
                     "nonce": asked["nonce"], **self.claims}  # fmt: skip
            key = "" if self.algorithm == "none" else self.signer
            if self.algorithm == "HS256":
                key = "x" * 64
            token = jwt.encode(whole, key, self.algorithm, {"kid": self.key_id})
            self._send(request, 200, {"id_token": token, "access_token": "unused", "token_type": "Bearer"})

    def _send(self, request: BaseHTTPRequestHandler, status: int, document: dict[str, Any]) -> None:
        text = json.dumps(document).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)


def _quoted_basic() -> str:
    """Source: RFC 6749, 2.3.1: both are form-encoded first."""
    pair = urlencode({CLIENT: SECRET}).replace("=", ":")
    return base64.b64encode(pair.encode()).decode()

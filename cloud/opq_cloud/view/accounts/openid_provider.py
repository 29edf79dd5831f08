"""One OpenID Connect provider: makes the address to which a browser is sent, and checks its answer.

Authorization code flow with PKCE, state and nonce. Source: OpenID Connect Core 1.0 (3.1), Discovery 1.0 (4),
RFC 7636, RFC 9700 (2.1). An answer is checked for its issuer, our client id, the nonce and its times before
any of it is used.
"""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from opq_cloud.view_settings import OpenIdSection
from opq_proto.errors import ConfigError, OpqError
from opq_proto.origin_guard import LOOPBACK_NAMES

ANSWER_S: Final = 10.0
ANSWER_BYTES: Final = 1_000_000
KEPT_S: Final = 3600.0
"""The provider's description and keys are read again after this time."""
KEYS_AGAIN_S: Final = 60.0
"""The keys are read again at most this often where a token names an unknown key."""
CLOCKS_S: Final = 60
"""The provider's clock and ours may differ by this much."""
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a public key; `none` and those with a shared secret are refused."""


class OpenIdError(OpqError):
    """The provider does not answer, or its answer is not valid."""


@dataclass(frozen=True, slots=True)
class OpenIdPerson:
    """The person that the provider's answer names."""

    subject: str
    """Issuer and `sub`: permanent, and unique over all providers."""
    email: str
    """Empty where the provider has not verified the address."""
    name: str


class OpenIdProvider:
    """Any method may be called from any thread; it blocks for ANSWER_S at most per request."""

    def __init__(self, config: OpenIdSection, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """
        Raises:
            ConfigError: the issuer is no address over TLS, the secret's file cannot be read, or the extra
                `openid` is not installed.
        """
        self.config = config
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._described: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, dict[str, Any]] | None = None
        self._secret = ""
        if not _is_safe(config.issuer):
            raise ConfigError(f"view.openid.issuer {config.issuer}: want https:// (http:// on loopback only)")
        if config.client_secret_file is not None:
            try:
                self._secret = config.client_secret_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                path = config.client_secret_file
                raise ConfigError(f"view.openid.client_secret_file {path}: {error.strerror}") from error
        try:
            import httpx  # noqa: F401
            import jwt  # noqa: F401
        except ImportError as error:
            raise ConfigError(f"view.openid needs {error.name}: pip install 'opq-toolkit[openid]'") from error

    def address(self, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """The address where the browser signs in. Raises OpenIdError."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid email profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = self._endpoint("authorization_endpoint")
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    def person(self, code: str, redirect_uri: str, nonce: str, verifier: str) -> OpenIdPerson:
        """The person that a code stands for; the code cannot be used again. Raises OpenIdError."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.config.client_id,
            "code_verifier": verifier,
        }
        basic = (self.config.client_id, self._secret) if self._secret else None
        token = self._fetch_json(self._endpoint("token_endpoint"), form, basic).get("id_token")
        if not isinstance(token, str):
            raise OpenIdError("the provider's answer has no ID token")
        return self._checked(token, nonce)

    def _checked(self, token: str, nonce: str) -> OpenIdPerson:
        """The person of a valid ID token. Source: OpenID Connect Core 1.0, 3.1.3.7."""
        import jwt

        try:
            claims = jwt.decode(
                token,
                self._key(jwt.get_unverified_header(token)),
                algorithms=list(ALGORITHMS),
                audience=self.config.client_id,
                issuer=self.config.issuer,
                leeway=CLOCKS_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "nonce"]},
            )
        except jwt.PyJWTError as error:
            raise OpenIdError(f"the provider's ID token does not hold: {error}") from error
        if claims["nonce"] != nonce:
            raise OpenIdError("the provider's ID token is of another sign-in")
        if claims.get("azp", self.config.client_id) != self.config.client_id:
            raise OpenIdError("the provider's ID token was made for another program")
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise OpenIdError("the provider's ID token names nobody")
        email, name = claims.get("email"), claims.get("name")
        verified = isinstance(email, str) and claims.get("email_verified") in (True, "true")
        return OpenIdPerson(
            f"{self.config.issuer} {subject}",
            str(email) if verified else "",
            name if isinstance(name, str) else "",
        )

    def _key(self, header: Mapping[str, Any]) -> Any:
        """The provider's key that a token names; an unknown key makes us read the keys again."""
        import jwt

        def found(keys: dict[str, Any]) -> Any:
            usable = [key for key in jwt.PyJWKSet.from_dict(keys).keys if key.public_key_use in (None, "sig")]
            named = [key for key in usable if key.key_id == header.get("kid")]
            chosen = named or (usable if "kid" not in header and len(usable) == 1 else [])
            return chosen[0] if chosen else None

        key = found(self._read_keys(KEPT_S)) or found(self._read_keys(KEYS_AGAIN_S))
        if key is None:
            raise OpenIdError("the provider's ID token is signed with a key that it does not publish")
        return key

    def _read_keys(self, most_s: float) -> dict[str, Any]:
        with self._lock:
            kept = self._keys
        if kept is not None and self._monotonic_s() - kept[0] < most_s:
            return kept[1]
        keys = self._fetch_json(self._endpoint("jwks_uri"))
        with self._lock:
            self._keys = self._monotonic_s(), keys
        return keys

    def _endpoint(self, name: str) -> str:
        found = self._description().get(name)
        if not isinstance(found, str) or not _is_safe(found):
            raise OpenIdError(f"the provider names no {name} over TLS")
        return found

    def _description(self) -> dict[str, Any]:
        with self._lock:
            kept = self._described
        if kept is not None and self._monotonic_s() - kept[0] < KEPT_S:
            return kept[1]
        described = self._fetch_json(f"{self.config.issuer.rstrip('/')}/.well-known/openid-configuration")
        if described.get("issuer") != self.config.issuer:
            raise OpenIdError(
                f"the provider calls itself {str(described.get('issuer'))[:200]!r}, not {self.config.issuer}"
            )
        with self._lock:
            self._described = self._monotonic_s(), described
        return described

    def _fetch_json(
        self, address: str, form: Mapping[str, str] | None = None, basic: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        """Requests a JSON object, by GET or by POST of `form`. Raises OpenIdError."""
        import httpx

        host = urlsplit(address).hostname
        body = b""
        try:
            with (
                httpx.Client(timeout=ANSWER_S, follow_redirects=False) as client,
                client.stream(
                    "GET" if form is None else "POST",
                    address,
                    data=form,
                    auth=None if basic is None else httpx.BasicAuth(*basic),
                    headers={"Accept": "application/json"},
                ) as answer,
            ):
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > ANSWER_BYTES:
                        raise OpenIdError(f"{host} answers more than {ANSWER_BYTES} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OpenIdError(f"{host} does not answer: {type(error).__name__}") from error
        if answer.status_code != 200:
            raise OpenIdError(f"{host} answers {answer.status_code}{_reason(body)}")
        found = _document(body)
        if found is None:
            raise OpenIdError(f"{host} answers no JSON object")
        return found


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _reason(body: bytes) -> str:
    """The `error` of an answer (RFC 6749, 5.2), shortened; empty where it is not printable."""
    error = (_document(body) or {}).get("error")
    return f": {error[:60]}" if isinstance(error, str) and error.isprintable() else ""


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_NAMES)
    )

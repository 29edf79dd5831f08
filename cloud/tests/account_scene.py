"""A View with accounts, and a browser of HTTP alone: cookies, forms, redirects as a browser has them."""

import functools
import hashlib
import html
import http.client
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import bcrypt
import demo
import pytest
from argon2 import PasswordHasher
from starlette.routing import Mount

from opq_cloud.view.web import passwords
from opq_cloud.view.web.passwords import hash_password

PASSWORD = "a horse in a battery"
argon2_in_production = passwords._hasher


@contextmanager
def argon2_of(hasher: PasswordHasher) -> Iterator[None]:
    """Passwords are hashed and compared by this one."""
    nobodys = functools.cache(passwords._nobodys_hash.__wrapped__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", lambda: hasher)
        patch.setattr(passwords, "_nobodys_hash", nobodys)
        yield


@dataclass
class FormBrowser:
    """One browser; `session` is its cookie."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)
    status: int = 0
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    set_cookies: list[str] = field(default_factory=list)

    def get(self, path: str, **headers: str) -> int:
        return self.send("GET", path, None, headers)

    def post(self, path: str, page: str = "", headers: dict[str, str] | None = None, **fields: str) -> int:
        """With the token of `page`, fetched first; without one, of the page that is shown."""
        if page:
            self.get(page)
        found = re.search(r'name="form_token" value="([^"]*)"', self.text)
        whole = {"form_token": found[1] if found else "", **fields}
        return self.send("POST", path, urlencode(whole), headers or {})

    def send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> int:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=240)
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        connection.request(method, path, body, {name: value for name, value in sent.items() if value})
        answer = connection.getresponse()
        self.status, self.headers = answer.status, {k.lower(): v for k, v in answer.getheaders()}
        self.set_cookies = [value for name, value in answer.getheaders() if name.lower() == "set-cookie"]
        for cookie in self.set_cookies:
            self._keep(cookie)
        feed = self.headers.get("content-type", "").startswith("text/event-stream")
        self.text = "" if feed else html.unescape(answer.read().decode("utf-8", "replace"))
        connection.close()
        return self.status

    def _keep(self, cookie: str) -> None:
        name, _, rest = cookie.partition("=")
        value = rest.partition(";")[0].strip('"')
        if value:
            self.cookies[name] = value
        else:
            self.cookies.pop(name, None)

    def sign_in(self, email: str, password: str = PASSWORD, code: str = "", wanted: str = "/") -> int:
        return self.post("/sign-in", "/sign-in", email=email, password=password, code=code, next=wanted)


def add_people(scene: demo.Scene, **roles: str) -> dict[str, str]:
    """Accounts `NAME@example.org` with PASSWORD; name -> id. One hash for all."""
    hashed = hash_password(PASSWORD)
    made = {}
    for name, role in roles.items():
        account = scene.store.people.add_account(f"{name}@example.org", name.capitalize(), role, hashed)
        assert account is not None
        made[name] = account.account_id
    return made


def meteors_hash(password: str, rounds: int = 4) -> str:
    """What the original's View (Meteor) stores of a password."""
    digest = hashlib.sha256(password.encode()).hexdigest().encode()
    return bcrypt.hashpw(digest, bcrypt.gensalt(rounds)).decode()


def app_routes(routes: Iterable[object], prefix: str = "") -> Iterator[str]:
    """`GET /path` of each; newer versions of FastAPI keep the routers that an application includes whole."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from app_routes(inner.routes, prefix)
        if isinstance(route, Mount):
            yield from app_routes(route.routes, prefix + route.path)
        for method in sorted(getattr(route, "methods", None) or ()):
            if method != "HEAD":
                yield f"{method} {prefix}{getattr(route, 'path', '')}"

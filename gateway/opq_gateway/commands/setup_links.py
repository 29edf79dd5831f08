"""Links to the set-up page for a person of this machine, each for one use, and the keys that they give.

Every user's program reaches the page's port on loopback. So the page wants a key there, which a browser gets
by a link that `opq-gateway setup-link` prints. The link is used up at once, because a program that opens it
shows it to all users in its arguments. A key holds for a day, also when the gateway restarts, and ends when
the machine restarts. Its day is by the monotonic clock, because joining a network may set the time of day.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from opq_proto.kit.http_server import address_of

LINK_S = 600.0
KEY_S = 86_400
MOST_LINKS = 20
"""Links that are open at once; the oldest ends for another one."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Another text for each start of the machine."""


class SetupLinks:
    """The open links of one gateway; may be called from any thread."""

    def __init__(
        self,
        token: str,
        monotonic_s: Callable[[], float] = time.monotonic,
        boot: str | None = None,
    ) -> None:
        """`token`: the secret of this gateway's folder, which signs the keys; `boot`: names the
        machine's start, by default as BOOT does."""
        self._token = token.encode()
        self._monotonic_s = monotonic_s
        self._boot = _boot() if boot is None else boot
        self._lock = threading.Lock()
        self._open: dict[str, float] = {}
        self._page = ""

    def serve_at(self, endpoint: str, port: int) -> None:
        """Notes where the page is: `endpoint` as configured, and the bound port."""
        host, _ = address_of(endpoint, "setup.endpoint")
        host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        self._page = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def make(self) -> str | None:
        """The address with a new link; None: this gateway has no set-up page."""
        if not self._page:
            return None
        link = secrets.token_urlsafe(24)
        with self._lock:
            self._open[link] = self._monotonic_s() + LINK_S
            while len(self._open) > MOST_LINKS:
                del self._open[next(iter(self._open))]
        return f"{self._page}#link={link}"

    def use(self, link: str) -> str | None:
        """The key for a link, which is used up; None: it is not open."""
        with self._lock:
            until_s = self._open.pop(link, 0.0)
        if until_s <= self._monotonic_s():
            return None
        end_s = int(self._monotonic_s()) + KEY_S
        return f"{end_s}.{self._signature(end_s)}"

    def knows(self, key: str) -> bool:
        """Whether a link gave this key, and it still holds."""
        end, _, signature = key.partition(".")
        if not (end.isascii() and end.isdigit() and len(end) < 15):
            return False
        fits = hmac.compare_digest(signature.encode(), self._signature(int(end)).encode())
        return fits and self._monotonic_s() < int(end)

    def _signature(self, end_s: int) -> str:
        text = f"opq set-up key 1\n{self._boot}\n{end_s}"
        return hmac.new(self._token, text.encode(), "sha256").hexdigest()


def _boot() -> str:
    """The machine's start; where the system does not show it, a text for this start of the gateway."""
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(16)

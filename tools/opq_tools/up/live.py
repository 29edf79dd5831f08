"""Reads a page's live feed (server-sent events) the way a browser does."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

READ_S = 20.0
"""The page sends a comment every 15 s; silence beyond this is a broken connection."""
RETRY_S = 0.2


class LiveFeed:
    """A thread that keeps reading `/live` and hands every event on, with the monotonic time it came.

    `on_event(name, data, monotonic_ns)` is called in that thread. `token`: for a View that asks who reads.
    """

    def __init__(
        self, view_url: str, on_event: Callable[[str, dict[str, Any], int], None], token: str = ""
    ) -> None:
        parts = urlsplit(view_url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._on_event = on_event
        self._headers = {"Accept": "text/event-stream"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._stop = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)
        self.connected = threading.Event()
        self.malformed = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        connection = self._connection
        if connection and connection.sock:
            connection.sock.close()
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except (OSError, http.client.HTTPException, AttributeError):
                # AttributeError: http.client reads on after stop() closed its socket
                self.connected.clear()
            self._stop.wait(RETRY_S)

    def _read(self) -> None:
        self._connection = http.client.HTTPConnection(self._host, self._port, timeout=READ_S)
        try:
            self._connection.request("GET", "/live", headers=self._headers)
            answer = self._connection.getresponse()
            if answer.status != 200:
                return
            self.connected.set()
            name, data = "message", ""
            while not self._stop.is_set():
                raw = answer.readline()
                if not raw:
                    return
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    data += line[5:].strip()
                elif not line:
                    if data:
                        self._hand_on(name, data)
                    name, data = "message", ""
        finally:
            self.connected.clear()
            self._connection.close()

    def _hand_on(self, name: str, data: str) -> None:
        now = time.monotonic_ns()
        try:
            facts = json.loads(data)
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            self.malformed += 1
            return
        self._on_event(name, facts, now)

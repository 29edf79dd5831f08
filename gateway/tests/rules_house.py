"""A rule engine's service for tests: on a free port, with a client of it."""

import threading
from pathlib import Path
from typing import Any

import httpx

from opq_rules.api import rules_config as configuration
from opq_rules.api.rules_service import RulesService


class House:
    """`alone`: as its own process, which may be ended; else as part of another service."""

    def __init__(self, folder: Path, alone: bool = False, **config: Any) -> None:
        reach = {"file_roots": (folder,), "private_networks": ("127.0.0.0/8",)}
        self.config = configuration.Config(
            data_dir=folder / "data", endpoint="127.0.0.1:0", **(reach | config)
        )
        self.ended = threading.Event()
        self.service = RulesService(self.config, self.ended.set if alone else None)
        self.service.start()
        assert self.service.engine.ready.wait(240), "sources begin when all rules are loaded"
        self.url = f"http://127.0.0.1:{self.service.port}"
        headers = {"Authorization": f"Bearer {self.service.token}"}
        self.http = httpx.Client(
            base_url=self.url, timeout=200, trust_env=False, verify=False, headers=headers
        )

    def ask(self, method: str, path: str, body: Any = None, code: int = 200) -> Any:
        answer = (
            self.http.request(method, path, json=body)
            if body is not None
            else self.http.request(method, path)
        )
        assert answer.status_code == code, f"{method} {path}: {answer.status_code} {answer.text}"
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.json() if is_json else answer.text

    def stop(self) -> list[str]:
        self.http.close()
        return self.service.stop()

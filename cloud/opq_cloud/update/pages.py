"""The answers to a GET on 8151: files of the repository, and the routes of the original's update server.

Source of the original's: docs/reference/opq-interop.md F.3; its Boxes take /latest and /update/FILE.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opq_cloud.core.service import HealthReport
from opq_cloud.update.repository import ReleaseRepository
from opq_proto.kit.http_server import Reply
from opq_proto.kit.system_record import SystemIdentity

TEXT_TYPE = "text/plain"
BYTES_TYPE = "application/octet-stream"
NOT_FOUND: Reply = (404, TEXT_TYPE, b"Resource not found.")
PACKAGE = re.compile(r"opq-box-update-(\d+)\.tar\.bz2", re.ASCII)
FILE = re.compile(r"/(metadata|targets)/([A-Za-z0-9_.-]{1,160})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """A short reply with headers, or a file."""

    reply: Reply = NOT_FOUND
    headers: tuple[tuple[str, str], ...] = ()
    file: Path | None = None


class UpdatePages:
    """Answers by path; files outside the two folders are never sent."""

    def __init__(
        self,
        repository: ReleaseRepository,
        packages: Path,
        problem: Callable[[], str | None],
        system: SystemIdentity | None = None,
    ) -> None:
        """`packages`: the folder of the original's packages; it need not be there. `problem` and `system`:
        for health."""
        self._system = system
        self._repository = repository
        self._packages = packages
        self._problem = problem

    def answer(self, path: str, local: bool = False, header: str | None = None) -> Answer:
        """`local` and `header`: as `SystemIdentity.shown_to`."""
        found = FILE.fullmatch(path)
        if found is not None:
            folder = self._repository.metadata if found[1] == "metadata" else self._repository.targets
            file = folder / found[2]
            return Answer(file=file) if file.is_file() and not found[2].startswith(".") else Answer()
        names = self._names()
        newest = names[-1] if names else None
        match path:
            case "/" | "/health":
                problem = self._problem()
                health = HealthReport("Box Update Server", problem is None, info=problem).as_json()
                own = {} if self._system is None else self._system.shown_to(local, header)
                document = {**health, **own}
                return Answer((200, "application/json", json.dumps(document).encode()))
            case "/ls":
                return Answer((200, TEXT_TYPE, "\n".join(names).encode()))
            case "/version" if newest is not None:
                number = PACKAGE.fullmatch(newest)
                return Answer((200, TEXT_TYPE, (number[1] if number else "").encode()))
            case "/latest" if newest is not None:
                return Answer((303, TEXT_TYPE, b""), (("Location", f"/update/{newest}"),))
        name = path.removeprefix("/update/")
        if path.startswith("/update/") and name in names:
            headers = (("Content-Disposition", f'attachment; filename="{name}"'),)
            return Answer(headers=headers, file=self._packages / name)
        return Answer()

    def _names(self) -> list[str]:
        """The original's packages in alphabetical order, the latest last."""
        if not self._packages.is_dir():
            return []
        return sorted(each.name for each in self._packages.iterdir() if PACKAGE.fullmatch(each.name))

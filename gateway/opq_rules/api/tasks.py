"""Tasks: what takes longer than a request, done one after another; each is told of by its id."""

import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from opq_proto import log
from opq_rules.batch import JsonObject
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RuleError

MOST_WAITING = 10
MOST_KEPT = 100
"""Ended ones; the oldest is forgotten."""

Work = Callable[[Callable[[], bool]], Any]
"""Gets a function that says whether it has been cancelled; gives its result as JSON, or raises RuleError."""


@dataclass(slots=True)
class _Task:
    id: str
    work: Work
    status: Literal["pending", "running", "finished", "failed", "cancelled"] = "pending"
    message: str = ""
    result: Any = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class Tasks:
    """Thread-safe. A thread is there as long as there is something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Task] = deque()
        self._known: dict[str, _Task] = {}
        self._busy = False

    def add(self, work: Work) -> str:
        """Its id. RuleError 400: too many wait."""
        task = _Task(uuid.uuid4().hex[:12], work)
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                raise RuleError(f"{MOST_WAITING} tasks wait; cancel one", CONFIGURATION)
            self._waiting.append(task)
            self._known[task.id] = task
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._run, name="rules-tasks", daemon=True).start()
        return task.id

    def one(self, name: str) -> JsonObject:
        """`{"id", "status", "message", "result"}`: pending, running, finished, failed or cancelled."""
        with self._lock:
            task = self._one(name)
            return {"id": task.id, "status": task.status, "message": task.message, "result": task.result}

    def cancel(self, name: str) -> None:
        """One that runs ends as long as it can leave all as it was. RuleError 400: it has ended."""
        with self._lock:
            task = self._one(name)
            if task.status not in ("pending", "running"):
                raise RuleError(f"task {task.id} has ended: {task.status}", CONFIGURATION)
            task.cancelled.set()
            if task.status == "pending":
                self._waiting.remove(task)
                task.status = "cancelled"

    def _one(self, name: str) -> _Task:
        found = self._known.get(name)
        if found is None:
            raise RuleError(f"task {name[:80]!r} is not found", NOT_FOUND, 404)
        return found

    def _run(self) -> None:
        while True:
            with self._lock:
                self._forget()
                if not self._waiting:
                    self._busy = False
                    return
                task = self._waiting.popleft()
                task.status = "running"
            status, message, result = self._done(task)
            with self._lock:
                task.status, task.message, task.result = status, message, result

    def _done(self, task: _Task) -> tuple[Literal["finished", "failed", "cancelled"], str, Any]:
        try:
            return "finished", "", task.work(task.cancelled.is_set)
        except RuleError as error:
            return ("cancelled" if task.cancelled.is_set() else "failed"), str(error), None
        except Exception as error:  # a fault of ours: told, and the next one runs
            log.get(service="rules-api").exception("task.failed", task=task.id, error=str(error))
            return "failed", "a fault of ours; the log has it", None

    def _forget(self) -> None:
        ended = [each.id for each in self._known.values() if each.status not in ("pending", "running")]
        for name in ended[: max(0, len(ended) - MOST_KEPT)]:
            del self._known[name]

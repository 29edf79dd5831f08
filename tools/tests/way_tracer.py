"""The way of one thing through a running system: which files of ours receive it, in which order.

    trace = WayTracer(ROOT / "cloud" / "opq_cloud", carries=lambda value: value is measurement)
    with trace:
        ...             # start the threads of the system, and let the thing pass
    trace.stays         # ["makai/triggering_broker.py", "makai/measurements/measurement_gatherer.py", ...]
    trace.returns       # how often it came to a file in which it had been

A stay begins when a function of another file gets the thing as an argument. Calls between two functions of
one file are one stay. Threads that start within `with` are followed, and the present one. With `only`, the
calls of these functions count, whatever they get: so a list of stays in the documentation is compared with a
running system.
"""

import sys
import threading
from collections.abc import Callable, Container
from pathlib import Path
from types import CodeType, FrameType

Call = tuple[str, str]
"""A file below the root, and a function in it."""


class WayTracer:
    """Follows what `carries` recognizes among the arguments of calls, in files below `root`."""

    def __init__(
        self,
        root: Path,
        carries: Callable[[object], bool] | None = None,
        only: Container[Call] | None = None,
    ) -> None:
        self._root, self._carries, self._only = f"{root}/", carries, only
        self._lock = threading.Lock()
        self._arguments: dict[CodeType, tuple[str, ...]] = {}
        self.calls: list[Call] = []
        """Each call that got it."""

    def __enter__(self) -> "WayTracer":
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        threading.setprofile(None)
        sys.setprofile(None)

    def clear(self) -> None:
        """Forgets what has passed, for example while the system started."""
        with self._lock:
            self.calls.clear()

    @property
    def stays(self) -> list[str]:
        """Files in the order in which they got it."""
        files = [file for file, _ in self.calls]
        return [file for at, file in enumerate(files) if not at or files[at - 1] != file]

    @property
    def returns(self) -> int:
        """How many stays are in a file that had it before."""
        return len(self.stays) - len(set(self.stays))

    def _note(self, frame: FrameType, what: str, _: object) -> None:
        code = frame.f_code
        if what != "call" or not code.co_filename.startswith(self._root) or _is_resumed(frame):
            return
        call = code.co_filename.removeprefix(self._root), code.co_name
        if (self._only is None or call in self._only) and self._gets_it(frame):
            with self._lock:
                self.calls.append(call)

    def _gets_it(self, frame: FrameType) -> bool:
        if self._carries is None:
            return True
        code = frame.f_code
        names = self._arguments.get(code)
        if names is None:
            names = self._arguments[code] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        return any(self._carries(frame.f_locals.get(name)) for name in names)


def _is_resumed(frame: FrameType) -> bool:
    """Whether a coroutine or generator goes on, which is reported as a call too: RESUME's argument is then
    not 0."""
    code = frame.f_code.co_code
    return 0 <= frame.f_lasti < len(code) - 1 and code[frame.f_lasti + 1] != 0

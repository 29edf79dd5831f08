"""Dear work (reports, PDF, verdicts, exports): two places of each kind, each a process of low priority.

Such work takes seconds of a core, which the threads of pages do not have. Who finds no place gets 503 with
Retry-After; one address or account has one place of a kind. Who has held places for long gets the last free
one of a kind no more, so that it stays for others. What several request at the same time is made once, and
they wait on the event loop. A client that is gone ends its process.
"""

import asyncio
import functools
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fastapi import HTTPException

from opq_cloud.core.service import ServiceCounters
from opq_cloud.view.web.job_server import LENGTH, DearJob, JobEnd, main, packed
from opq_cloud.view.web.shares import REQUEST_SHARE, VISITORS_REMEMBERED, ClientGoneError, pause_refusal
from opq_proto.errors import OpqError
from opq_proto.kit.rate_limit import TokenBuckets

WorkKind = Literal["report", "export", "recording"]
NICENESS = 10
"""Pages come first: two jobs take a tenth of two busy cores from them."""
PLACES = 2
"""Jobs of one kind that run at once."""
HELD_S = 300.0
"""Time for which one visitor may hold places at once until the last one of a kind is kept for others."""
HELD_PER_S = 0.25
"""Share of the time after that."""
BUSY_RETRY_S = 10
KIND_WORDS: dict[WorkKind, str] = {
    "report": "reports or verdicts are being made",
    "export": "exports are being written",
    "recording": "recordings are being examined",
}
OWN_WORDS: dict[WorkKind, str] = {
    "report": "One report or calendar of verdicts",
    "export": "One export",
    "recording": "One recording",
}
LEFT_CHECK_S = 0.5
"""So often it is checked whether the client still waits."""
T = TypeVar("T")


class JobLostError(OpqError):
    """The process of a job ended without an answer."""


class NoPlaceError(HTTPException):
    """No place is free for the visitor of this request; for others there may be one."""


class DearPlaces:
    """The places of one View; used on the event loop alone."""

    def __init__(self, counters: ServiceCounters, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._counters, self._now_s = counters, monotonic_s
        self._taken: dict[WorkKind, list[str]] = {kind: [] for kind in KIND_WORDS}
        self._held = TokenBuckets(HELD_S, HELD_PER_S, VISITORS_REMEMBERED, monotonic_s)
        """Seconds of places that each visitor may still hold."""

    @asynccontextmanager
    async def taken(self, kind: WorkKind) -> AsyncIterator[None]:
        """As `place`; a visitor who got many refusals waits for the next one."""
        with ExitStack() as held:
            try:
                held.enter_context(self.place(kind))
            except NoPlaceError:
                await pause_refusal()
                raise
            yield

    @contextmanager
    def place(self, kind: WorkKind) -> Iterator[None]:
        """Holds a place.

        Raises NoPlaceError: 503 where none is free for this visitor, 429 where this visitor has one.
        """
        share, taken = REQUEST_SHARE.get(), self._taken[kind]
        key = "" if share is None else share.key
        if key and key in taken:
            self._counters.add("work_refused", label=f"{kind}, of one address")
            text = (
                f"{OWN_WORDS[kind]} at a time is made for your address or account. Try again when it is done."
            )
            raise NoPlaceError(429, text, {"Retry-After": str(BUSY_RETRY_S)})
        kept = bool(key) and self._held.left(key) <= 0  # for others
        if len(taken) + kept >= PLACES:
            self._counters.add("work_refused", label=kind)
            text = (
                f"{PLACES} {KIND_WORDS[kind]} at this moment; that is all at once. Try again in some seconds."
            )
            raise NoPlaceError(503, text, {"Retry-After": str(BUSY_RETRY_S)})
        taken.append(key)
        began_s = self._now_s()
        try:
            yield
        finally:
            taken.remove(key)
            if key:
                self._held.charge(key, self._now_s() - began_s)


class JobServer:
    """The program that forks jobs: one for this process, begun at the first job."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        """`modules`: those of the jobs, which it loads once."""
        self._modules = modules
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def begin(self, job_socket: socket.socket) -> None:
        """Forks a process that reads its job from this socket. Raises OSError."""
        with self._lock:
            if self._control is None or self._process is None or self._process.poll() is not None:
                self._start()
            assert self._control is not None
            socket.send_fds(self._control, [b"j"], [job_socket.fileno()])

    def _start(self) -> None:
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        with theirs:
            program = f"import {main.__module__} as s; s.main()"
            command = [sys.executable, "-P", "-c", program, str(theirs.fileno()), str(NICENESS)]
            command += self._modules
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])


job_server = functools.cache(JobServer)


async def parts_of(server: JobServer, job: DearJob) -> AsyncGenerator[Any, None]:
    """Yields the parts of a job; leaving it ends the job's process. Raises what the job raises."""
    try:
        ours, theirs = socket.socketpair()
        with theirs:
            await asyncio.get_running_loop().run_in_executor(None, server.begin, theirs)
        reader, writer = await asyncio.open_connection(sock=ours)
    except OSError as error:
        raise JobLostError(f"its process could not begin ({error.strerror})") from None
    try:
        writer.write(packed(job))
        while True:
            size = LENGTH.unpack(await reader.readexactly(LENGTH.size))[0]
            message = pickle.loads(await reader.readexactly(size))
            if isinstance(message, JobEnd):
                if message.failure is not None:
                    raise message.failure
                return
            yield message
    except (asyncio.IncompleteReadError, ConnectionError):
        raise JobLostError("it took more time or memory than a page may have") from None
    finally:
        writer.close()


async def only_part(server: JobServer, job: DearJob) -> Any:
    """The only part of a job."""
    async with aclosing(parts_of(server, job)) as parts:
        async for part in parts:
            return part
    raise JobLostError("it made nothing")


@dataclass(slots=True)
class _Made:
    """An answer that is made or was made, and how many wait for it."""

    task: "asyncio.Task[Any]"
    began_s: float
    waiting: int = 0


class MadeTogether:
    """Answers that are made once for all who request the same, and kept a while; on the event loop."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self._made: OrderedDict[Hashable, _Made] = OrderedDict()

    async def of(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """The answer that is kept, is being made, or is made now; making ends when all who wait have left."""
        now_s = asyncio.get_running_loop().time()
        made = self._made.get(key)
        if made is None or made.task.cancelled() or now_s - made.began_s >= self._seconds:
            made = self._made[key] = _Made(asyncio.ensure_future(_awaited(make)), now_s)
        self._made.move_to_end(key)
        made.waiting += 1
        try:
            return await until_gone(asyncio.shield(made.task))
        except BaseException:
            if made.task.done() and self._made.get(key) is made:
                del self._made[key]  # a failure is not kept
            raise
        finally:
            made.waiting -= 1
            if not made.waiting and not made.task.done():
                made.task.cancel()
                if self._made.get(key) is made:
                    del self._made[key]
            while len(self._made) > self._most:
                first = next(iter(self._made))
                if not self._made[first].task.done():
                    break
                del self._made[first]


async def _awaited(make: Callable[[], Awaitable[T]]) -> T:
    return await make()


async def until_gone(waited: "asyncio.Future[T]") -> T:
    """The result of a future, which is cancelled where the client of this request leaves before."""
    share = REQUEST_SHARE.get()
    while True:
        done, _ = await asyncio.wait([waited], timeout=None if share is None else LEFT_CHECK_S)
        if done:
            return waited.result()
        if share is not None and await share.gone():
            waited.cancel()
            with suppress(asyncio.CancelledError):
                await waited
            raise ClientGoneError

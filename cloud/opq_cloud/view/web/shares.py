"""The share of one visitor in the threads and the CPU time of all pages.

Whoever is counted together (an account, else an address, IPv6 by its /56) has one or two pages made at once;
its others wait on the event loop, without a thread. The CPU time of its pages is measured, and taken from a
bucket that fills slowly; a visitor who has emptied it gets 429 before a page is begun. This machine's own
requests, which no proxy hands on for another address, are not limited.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import APIRouter, HTTPException, Request, Response

from opq_cloud.core.service import ServiceCounters
from opq_cloud.view.web.single_maker import LEAVES_THREAD, BeingMadeError
from opq_cloud.view.web.visitors import Visitor, visitor_network
from opq_proto.kit.rate_limit import TokenBuckets

CPU_BURST_S = 5.0
"""CPU time that a visitor may use at once."""
CPU_PER_S = 0.25
"""CPU time per second after that: a person who opens a page of 50 ms every other second, ten times over."""
REQUEST_CPU_S = 0.003
"""What each request costs outside of its own thread."""
OUTLINES_CPU_S = 0.02
"""What outlines of a map cost outside of their thread: all pages wait while up to 430 kB are compressed and
sent. A person may move a map 160 times at once, then eight times a second."""
STREAM_CPU_S = 0.02
"""What it costs to open a live feed."""
PAGES_AT_ONCE = 1
"""Pages of one address that are made at the same time: each further thread halves the speed of all others."""
PAGES_OF_ACCOUNT = 2
"""The same of one account, some of whose pages wait for the answer of a Box."""
PAGES_WAITING = 30
"""Pages of one visitor that wait for these."""
VISITORS_REMEMBERED = 10_000
STRANGER_BOX_DAYS = 2_000
"""Days times Boxes that a visitor without an account may request at once."""
REFUSALS_AT_ONCE = 20
"""Refusals of one visitor that are sent at once; a further one is sent after REFUSAL_S."""
REFUSALS_PER_S = 2.0
REFUSAL_S = 1.0
"""So long a refusal waits, so that a program that asks again at once costs little."""
BUSY_RETRY_S = 5
TOO_MUCH = (
    "Your address or account has used its share of this server's time ({burst:g} s at once, then {per_s:g} s "
    "in each second). Try again in {wait_s} s.\n"
)
TOO_MANY = "Too many pages for your address or account are waiting to be made. Try again in some seconds."
T = TypeVar("T")


def share_key(visitor: Visitor) -> str:
    """The account or network whose requests are counted together; empty for this machine's own."""
    if visitor.account is not None:
        return visitor.account.account_id
    return visitor_network(visitor.address)


def refuse_large(visitor: Visitor, boxes: int, length_ms: int) -> None:
    """Raises HTTPException 400 where a stranger requests more than STRANGER_BOX_DAYS."""
    days = boxes * length_ms / 86_400_000
    if visitor.account is None and share_key(visitor) and days > STRANGER_BOX_DAYS:
        raise HTTPException(
            400,
            f"{boxes} Boxes over {length_ms / 86_400_000:.0f} days are too many without an account; want "
            f"{STRANGER_BOX_DAYS:,} days of Boxes or fewer, such as 5 Boxes over 400 days. Sign in for more.",
        )


@dataclass(slots=True)
class _Turns:
    """The pages of one visitor that are made now, and those that wait."""

    places: asyncio.Semaphore
    present: int = 0


class FairShares:
    """One per View; used on the event loop alone."""

    def __init__(self, counters: ServiceCounters, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._cpu = TokenBuckets(CPU_BURST_S, CPU_PER_S, VISITORS_REMEMBERED, monotonic_s)
        self._refusals = TokenBuckets(REFUSALS_AT_ONCE, REFUSALS_PER_S, VISITORS_REMEMBERED, monotonic_s)
        self._turns: dict[str, _Turns] = {}

    def wait_s(self, key: str) -> int:
        """Seconds until the visitor has CPU time again; 0 where there is some."""
        left_s = self._cpu.left(key) if key else 1.0
        return 0 if left_s > 0 else max(1, round(-left_s / CPU_PER_S))

    def charge(self, key: str, cpu_s: float) -> None:
        """Takes CPU time that was used for the visitor."""
        if key:
            self._cpu.charge(key, cpu_s)

    async def refuse(self, key: str) -> str:
        """The words of a refusal, when it may be sent."""
        self._counters.add("requests_beyond_share")
        wait_s = self.wait_s(key)
        await self.pause(key)
        return TOO_MUCH.format(burst=CPU_BURST_S, per_s=CPU_PER_S, wait_s=wait_s)

    async def pause(self, key: str) -> None:
        """Waits before a refusal is sent to a visitor who got many."""
        if key and not self._refusals.spend(key):
            await asyncio.sleep(REFUSAL_S)

    @asynccontextmanager
    async def turn(self, key: str, at_once: int, spent_s: list[float]) -> AsyncIterator[bool]:
        """Waits for the visitor's turn; whether it had to wait. Raises HTTPException 503.

        `spent_s`: the CPU time that was used within, which is taken from the visitor's.
        """
        if not key:
            yield False
            return
        turns = self._turns.setdefault(key, _Turns(asyncio.Semaphore(at_once)))
        if turns.present >= at_once + PAGES_WAITING:
            self._counters.add("pages_refused")
            await self.pause(key)
            raise HTTPException(503, TOO_MANY, {"Retry-After": str(BUSY_RETRY_S)})
        waits = turns.places.locked()
        turns.present += 1
        try:
            async with turns.places:
                try:
                    yield waits
                finally:
                    self.charge(key, sum(spent_s))
        finally:
            turns.present -= 1
            if not turns.present:
                del self._turns[key]


@dataclass(frozen=True, slots=True)
class RequestShare:
    """The request that is answered, and whose it is."""

    shares: FairShares
    key: str
    gone: Callable[[], Coroutine[Any, Any, bool]]
    """Whether its client has left."""
    at_once: int = PAGES_AT_ONCE
    """Pages of it that are made at the same time."""
    reads: bool = False
    """Whether it changes nothing, so that its work may be begun again."""


REQUEST_SHARE: ContextVar[RequestShare | None] = ContextVar("request_share", default=None)
"""Set by the gate; None for what is not counted."""


class ClientGoneError(Exception):
    """The client left before its turn: nothing is made."""


def charge_stream() -> None:
    """Takes the CPU time of a live feed that is opened from the visitor of this request."""
    share = REQUEST_SHARE.get()
    if share is not None:
        share.shares.charge(share.key, STREAM_CPU_S)


async def pause_refusal() -> None:
    """As `FairShares.pause`, for the visitor of this request."""
    share = REQUEST_SHARE.get()
    if share is not None:
        await share.shares.pause(share.key)


def client_gone() -> Callable[[], bool]:
    """For a thread of `in_thread`: whether the client of this request has left."""
    share = REQUEST_SHARE.get()
    return (lambda: False) if share is None else partial(anyio.from_thread.run, share.gone)


def no_answer(request: Request, error: Exception) -> Response:
    """For the log of a proxy, which knows this number from nginx."""
    return Response(status_code=499)


async def in_thread(work: Callable[..., T], *args: Any, limiter: anyio.CapacityLimiter | None = None) -> T:
    """Runs `work` in a thread when its visitor's turn comes, and takes its CPU time from the visitor's.

    Raises:
        HTTPException: 503, too many of this visitor wait.
        ClientGoneError: while it waited.
    """
    share = REQUEST_SHARE.get()
    if share is None:
        return await anyio.to_thread.run_sync(partial(work, *args), limiter=limiter)
    spent_s: list[float] = []

    def metered() -> T:
        began_s = time.thread_time()
        try:
            return work(*args)
        finally:
            spent_s.append(time.thread_time() - began_s)

    async with share.shares.turn(share.key, share.at_once, spent_s) as waited:
        if waited and await share.gone():
            raise ClientGoneError
        token = LEAVES_THREAD.set(share.reads)
        try:
            while True:
                try:
                    return await anyio.to_thread.run_sync(metered, limiter=limiter)
                except BeingMadeError as other:
                    await asyncio.shield(asyncio.wrap_future(other.made))
        finally:
            LEAVES_THREAD.reset(token)


class PageRouter(APIRouter):
    """A router whose plain functions run in a thread in their visitor's turn."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **facts: Any) -> None:
        super().add_api_route(path, in_turn(endpoint), **facts)


def in_turn(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The same endpoint by `in_thread`; one that is asynchronous stays as it is."""
    if inspect.iscoroutinefunction(endpoint):
        return endpoint

    async def answer(**values: Any) -> Any:
        return await in_thread(partial(endpoint, **values))

    answer.__signature__ = inspect.signature(endpoint)  # type: ignore[attr-defined]
    answer.__name__, answer.__doc__ = endpoint.__name__, endpoint.__doc__
    answer.__qualname__, answer.__module__ = endpoint.__qualname__, endpoint.__module__
    return answer

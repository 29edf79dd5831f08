"""Ends an answer that is sent for long, such as an export, when the rights of its visitor end.

A streamed answer waits for its client to disconnect; this receiver reports that also when the rights end. The
connection is then closed before the last piece, so that the client knows that the file is not complete.
"""

import asyncio
from collections.abc import Awaitable, Callable

from opq_cloud.view.web.visitors import Visitor
from opq_cloud.view.web.web_guard import Receive, Scope
from opq_proto.errors import StoreError

CHECKED_EVERY_S = 2.0
"""How often the visitor of an answer that is being sent is identified again."""


def receive_while_allowed(
    receive: Receive, identify: Callable[[], Awaitable[Visitor]], begun: Visitor
) -> Receive:
    """Receives as `receive`, and reports a disconnect when the visitor has lost a right of the beginning."""

    async def receive_or_end() -> Scope:
        while True:
            try:
                async with asyncio.timeout(CHECKED_EVERY_S):
                    return await receive()
            except TimeoutError:
                if not await _may_go_on(identify, begun):
                    return {"type": "http.disconnect"}

    return receive_or_end


async def _may_go_on(identify: Callable[[], Awaitable[Visitor]], begun: Visitor) -> bool:
    try:
        now = await identify()
    except StoreError:
        return True  # the answer itself reads the store, and ends by that
    waveforms = now.everything or begun.public_waveforms <= now.public_waveforms | now.full
    return now.is_still(begun) and now.sees_all_of(begun) and waveforms

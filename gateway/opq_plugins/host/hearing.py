"""What the host hears of one life of a worker, until it ends: its heart, its output, its messages."""

import contextlib
import select
import threading
import time
from collections.abc import Callable
from typing import Any

from opq_plugins.host.life import GONE, Life
from opq_plugins.host.output import Output

PING_S = 1.0
SILENCE_S = 20.0
"""So long without a sign of life, and the process is ended; long, since a gateway's CPU may be busy."""
OUTPUT_BYTES_PER_S = 4 << 20
"""What a plug-in may print; more makes it wait."""


def hear(
    life: Life,
    output: Output,
    start_s: float,
    closing: threading.Event,
    take: Callable[[Life, list[Any]], None],
) -> None:
    """Returns when `life.why` says why it has to end. `start_s`: until its handshake; `take`: each message,
    and whatever that raises ends the life."""
    poll = select.poll()
    poll.register(life.wire.fileno(), select.POLLIN)
    output_open, listening, next_output_s, pinged_s = True, False, 0.0, time.monotonic()
    while not life.why:
        now = time.monotonic()
        if closing.is_set():
            life.why = "closed"
            return
        if now - pinged_s >= PING_S and life.facts:
            pinged_s = now
            with contextlib.suppress(OSError):
                life.wire.send(["ping", int(now)], 0.0)
        if not life.facts and now - life.started_s > start_s:
            life.why = f"no handshake within {start_s:g} s"
            return
        if now - life.heard_s > SILENCE_S + (start_s if not life.facts else 0):
            life.why = f"no sign of life for {SILENCE_S:g} s"
            return
        if output_open and now >= next_output_s and not listening:
            poll.register(life.output.fileno(), select.POLLIN)
            listening = True
        ready = {fd for fd, _ in poll.poll(250 if listening or not output_open else 20)}
        if listening and life.output.fileno() in ready:
            poll.unregister(life.output.fileno())
            listening = False
            read = output.read(life.output)
            output_open = read >= 0
            next_output_s = now + max(0.02, read / OUTPUT_BYTES_PER_S)
        if life.wire.fileno() not in ready:
            continue
        try:
            messages = life.wire.receive_ready()
        except ValueError as error:
            life.why = f"sends garbage: {error}"
            return
        except OSError:
            life.why = life.why or GONE
            return
        if messages:
            life.heard_s = time.monotonic()
        for message in messages:
            try:
                take(life, message)
            except Exception as error:  # whatever it may be that a hostile worker has thought of
                life.why = f"sends garbage: {error}"
                return

"""The plug-in base, in the original's form: topics in, `on_message`, `produce`, a heartbeat.

    class Mine(MaukaPlugin):
        NAME = "Mine"

        def __init__(self, config):
            super().__init__(config, ["MakaiEvent"], Mine.NAME)

        def on_message(self, topic, mauka_message):
            print(mauka_message.makai_event.event_id)

    run_plugin(Mine, {})

`config` has the original's flat keys (docs/reference/opq-interop.md C.4), each with its default. One loop
handles messages; a second thread sends heartbeats, but only while that loop runs, and reports
how long the current message has taken: a plug-in that crashed or hangs does not look healthy.
"""

import inspect
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

from opq_cloud.core.backend.sockets import POLL_MS, Socket, connect, service_context
from opq_cloud.core.backend.waits import PollableEvent, Stop, wait_for
from opq_cloud.core.service import ServiceCounters
from opq_cloud.mauka.bus import bus_messages
from opq_cloud.mauka.bus.broker import MESSAGES_PER_PEER, Publisher, subscriber
from opq_proto.errors import FrameError, StoreError
from opq_proto.kit import log as logs
from opq_proto.kit.ending import stopped_by_signals
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.service_sockets import local_endpoint
from opq_proto.kit.system_place import default_data_dir
from opq_proto.kit.zmq_inbox import waiting_messages
from opq_proto.wire.mauka_pb2 import MaukaMessage

log = logs.get(service="mauka")

PUB_KEY = "zmq.mauka.plugin.pub.interface"
SUB_KEY = "zmq.mauka.plugin.sub.interface"
HEARTBEAT_KEY = "plugins.base.heartbeatIntervalS"
HWM_KEY = "plugins.base.hwm"
PluginConfig = Mapping[str, Any]
"""The original's flat keys (docs/reference/opq-interop.md C.4)."""
DEFAULTS: PluginConfig = {
    HEARTBEAT_KEY: 60.0,
    HWM_KEY: MESSAGES_PER_PEER,
}

MESSAGES_PER_TURN = 100
FIRST_HEARTBEAT_S = 1.0
"""The original's 5 s (docs/reference/opq-interop.md A.11) only keep `/status` empty for longer."""
WAIT_SUBSCRIBED_S = 1.0
JOIN_POLL_MS = 10
IDLE = "IDLE"
"""State of a heartbeat: the plug-in waits for a message."""
BUSY = "BUSY"
"""State of a heartbeat: the plug-in handles a message."""
STOPPED = "STOPPED"
"""State of the last heartbeat of a loop that was asked to end; the original has none."""
CRASHED = "CRASHED"
"""State of the last heartbeat of a loop that an error ended; the original has none."""


class MaukaPlugin:
    """Counters: `received`, `received_bytes`, `handled`, `failures`, `malformed`, and Publisher's."""

    NAME = "MaukaPlugin"
    GIVES: tuple[str, ...] = ()
    """Topics that it produces, listed also before the first message."""

    def __init__(
        self, config: PluginConfig, subscriptions: Sequence[str], name: str, exit_event: Stop | None = None
    ) -> None:
        self.config: dict[str, Any] = {**DEFAULTS, **config}
        if not self.config.keys() >= {PUB_KEY, SUB_KEY}:
            self.config = {**_bus_here(), **self.config}
        self.subscriptions = tuple(subscriptions)
        self.name = name
        self.exit_event: Stop = exit_event or PollableEvent()
        self.counters = ServiceCounters()
        self._on_hold = False
        self._stop_of_run: Stop = self.exit_event
        self._woken = PollableEvent()
        self.produced_topics: set[str] = set()
        self._errors: dict[str, str] = {}
        self._out: Publisher | None = None
        self._busy_since_s: float | None = None
        self._last_received_ms = 0
        self._limited = RateLimitedLog(log)

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """Handles one message of a subscribed topic; for the plug-in to override."""

    def on_idle(self) -> bool:
        """Runs between messages, True when it has more to do at once; for the plug-in to override."""
        return False

    def idle_due_s(self) -> float:
        """Returns the seconds until `on_idle` has to run without a message.

        For the plug-in to override, with `on_idle`. Until it does, `on_idle` runs every 0.2 s.
        """
        return math.inf if type(self).on_idle is MaukaPlugin.on_idle else POLL_MS / 1000

    def idle_sockets(self) -> Iterable[Socket]:
        """Returns the sockets that `on_idle` reads; for the plug-in to override."""
        return ()

    def wake(self) -> None:
        """Makes the loop run `on_idle` now; from any thread."""
        self._woken.set()

    @property
    def on_hold(self) -> bool:
        """Whether its loop is to stay stopped."""
        return self._on_hold

    def hold(self) -> None:
        """Stops its loop until `resume`; from any thread."""
        self._on_hold = True
        self._woken.set()

    def resume(self) -> None:
        """Lets its loop begin again."""
        self._on_hold = False
        self._woken.set()

    def produce(self, topic: str, message: MaukaMessage | bytes) -> None:
        """Publishes a message on the bus, from any thread. Without a bus the message counts as `unheard`."""
        body = message if isinstance(message, bytes) else message.SerializeToString()
        out = self._out
        self.produced_topics.add(topic)
        if out is None:
            self.counters.add("unheard")
        else:
            out.send([topic.encode(), body])

    def run_plugin(self) -> None:
        """Runs the loop until EXIT or the exit event, in the calling thread."""
        self.run(self.exit_event)

    def run(self, stop: Stop, ready: threading.Event | None = None) -> None:
        """Runs the loop until `stop`, the exit event or the control message EXIT; pauses while on hold."""
        self._stop_of_run = stop
        while True:
            if not self._on_hold and self._run_loop(stop, ready):
                return
            if self._on_hold and ready is not None:
                ready.set()
            while self._on_hold and not self.is_ended():
                wait_for(stop, self.exit_event, self._woken)
                self._woken.clear()
            if self.is_ended():
                return

    def is_ended(self) -> bool:
        """Whether it is asked to end, which long work of `on_idle` looks at."""
        return self._stop_of_run.is_set() or self.exit_event.is_set()

    def _run_loop(self, stop: Stop, ready: threading.Event | None) -> bool:
        """Returns whether EXIT ended the loop."""
        hwm = int(self.config[HWM_KEY])
        ended = threading.Event()
        heart = threading.Thread(
            target=self._send_heartbeats, args=(ended,), name=f"{self.name}-heartbeat", daemon=True
        )
        last_state = CRASHED
        with ExitStack() as opened:
            context = opened.enter_context(service_context())
            source = opened.enter_context(closing(subscriber(context, hwm, (*self.subscriptions, self.name))))
            out = opened.enter_context(closing(Publisher(context, hwm, self.counters)))
            try:
                out.connect(str(self.config[PUB_KEY]), PUB_KEY)
                connect(source, str(self.config[SUB_KEY]), SUB_KEY)
                self._wait_joined(source, out, stop)
                self._out = out
                heart.start()
                if ready is not None:
                    ready.set()
                exited = self._loop(source, stop)
                last_state = STOPPED
            finally:
                ended.set()
                if heart.ident is not None:
                    heart.join()
                self._send_heartbeat(last_state)
                self._out = None
        return exited

    @property
    def last_error(self) -> str | None:
        """The error of the newest failed call that has not succeeded since; None if there is no such call."""
        return next(reversed(list(self._errors.values())), None)

    def guard(self, what: str, call: Callable[[], object], **ids: object) -> bool:
        """The one place that catches any exception: counts it, logs it with its ids, and continues."""
        try:
            call()
        except StoreError as error:  # a full disk or an absent database is not a fault of the plug-in
            self._note_failed(what, error)
            facts = {"plugin": self.name, "what": what, "error": str(error), **ids}
            self._limited.error("plugin.store_failed", key=what, **facts)
            return False
        except FrameError as error:  # what came is wrong, and not the plug-in
            self._note_malformed(error)
            self._errors.pop(what, None)
            return False
        except Exception as error:
            self._note_failed(what, error)
            self._limited.exception("plugin.failed", key=what, plugin=self.name, what=what, **ids)
            return False
        self._errors.pop(what, None)
        return True

    def _note_malformed(self, error: FrameError) -> None:
        self.counters.add("malformed")
        self._limited.warning("plugin.malformed", plugin=self.name, problem=str(error))

    @property
    def errors(self) -> tuple[str, ...]:
        """The calls that failed and have not succeeded since."""
        return tuple(self._errors)

    def set_error(self, what: str, text: str) -> None:
        """Keeps the error of a call as the last one, until it succeeds."""
        self._errors.pop(what, None)
        self._errors[what] = text

    def clear_error(self, what: str) -> None:
        """Notes that a call succeeded, or will not be made again."""
        self._errors.pop(what, None)

    def _note_failed(self, what: str, error: Exception) -> None:
        self.counters.add("failures", label=what)
        self.set_error(what, f"{what}: {type(error).__name__}: {error}")

    def status(self) -> dict[str, object]:
        """Returns the heartbeat's JSON: the original's four keys (docs/reference/opq-interop.md E.2), then
        ours."""
        total = self.counters.total
        busy_since_s = self._busy_since_s
        return {
            "messages_received": int(total("received")),
            "messages_published": int(total("published")),
            "bytes_received": int(total("received_bytes")),
            "bytes_published": int(total("published_bytes")),
            "malformed": int(total("malformed")),
            "dropped": int(total("dropped")),
            "failures": int(total("failures")),
            "last_error": self.last_error,
            "busy_s": 0.0 if busy_since_s is None else round(time.monotonic() - busy_since_s, 3),
            "interval_s": float(self.config[HEARTBEAT_KEY]),
        }

    def _loop(self, source: Socket, stop: Stop) -> bool:
        """Runs until EXIT, which returns True, or until it is stopped or put on hold."""
        due_s = 0.0
        while not (self.is_ended() or self._on_hold):
            events = self.exit_event, self._woken
            came = source in wait_for(stop, source, *events, *self.idle_sockets(), due_s=due_s)
            self._woken.clear()
            if came:
                for frames in waiting_messages(source, MESSAGES_PER_TURN):
                    if not self._handle_frames(frames):
                        log.info("plugin.exit", plugin=self.name)
                        return True
                    if stop.is_set():
                        return False
            due_s = self._idle()
        return False

    def _wait_joined(self, source: Socket, out: Publisher, stop: Stop) -> None:
        """Publishes our own name on the bus until it comes back: messages published from now on reach us."""
        end_s = time.monotonic() + WAIT_SUBSCRIBED_S
        if not out.wait_subscribed(WAIT_SUBSCRIBED_S, stop):
            return
        while not (source.poll(JOIN_POLL_MS) or stop.is_set() or time.monotonic() > end_s):
            out.send([self.name.encode(), b""])

    def _handle_frames(self, frames: list[bytes]) -> bool:
        """Handles one bus message; False when it was this plug-in's EXIT."""
        self.counters.add("received")
        self.counters.add("received_bytes", sum(map(len, frames)))
        try:
            topic, body = bus_messages.read_topic(frames)
            if topic == self.name:
                return body != bus_messages.EXIT
            if not topic.startswith(self.subscriptions):
                return True  # the prefix of our name matched, but it is for another plug-in
            if topic not in self.subscriptions and body in (b"", bus_messages.EXIT):
                return True  # for a plug-in whose name begins like a topic of ours: MakaiEventPlugin
            message = bus_messages.read_body(body)
        except FrameError as error:
            self._note_malformed(error)
            return True
        self._last_received_ms = bus_messages.now_ms()
        self._busy_since_s = time.monotonic()
        self.guard("on_message", lambda: self.on_message(topic, message), topic=topic)
        self.counters.add("handled")
        self._busy_since_s = None
        return True

    def _idle(self) -> float:
        """Returns the seconds until it is due again; some, where it failed."""
        due_s = POLL_MS / 1000

        def idle() -> None:
            nonlocal due_s
            due_s = 0.0 if self.on_idle() else self.idle_due_s()

        self._busy_since_s = time.monotonic()
        self.guard("on_idle", idle)
        self._busy_since_s = None
        return due_s

    def _send_heartbeats(self, ended: threading.Event) -> None:
        wait_s = min(FIRST_HEARTBEAT_S, float(self.config[HEARTBEAT_KEY]))
        while not ended.wait(wait_s):
            self._send_heartbeat(IDLE if self._busy_since_s is None else BUSY)
            wait_s = float(self.config[HEARTBEAT_KEY])

    def _send_heartbeat(self, state: str) -> None:
        message = bus_messages.heartbeat(
            self.name, state, self._last_received_ms, int(self.counters.total("handled")), self.status()
        )
        self.produce(bus_messages.HEARTBEAT, message)


def _bus_here() -> PluginConfig:
    """The addresses of the bus of the default data folder."""
    folder = default_data_dir()
    return {PUB_KEY: local_endpoint("bus-in", folder), SUB_KEY: local_endpoint("bus-out", folder)}


def run_plugin(
    plugin_class: Callable[..., MaukaPlugin], config: PluginConfig, exit_event: Stop | None = None
) -> None:
    """Makes a plug-in and runs it in this thread until EXIT, a signal to end, or `exit_event`.

    Both of the original's constructors work: `(config)` and `(config, exit_event)`.
    """
    stop = exit_event or PollableEvent()
    with ExitStack() as opened:
        if isinstance(stop, threading.Event) and threading.current_thread() is threading.main_thread():
            opened.enter_context(stopped_by_signals(stop))
        takes_event = len(inspect.signature(plugin_class).parameters) > 1
        plugin = plugin_class(config, stop) if takes_event else plugin_class(config)
        plugin.run(stop)

"""One plug-in of the original in a confined process: called message by message, replaced between two of them.

A message stays in the inbox until its `on_message` has returned. Its results are published then, so that
an interrupted call has published nothing, and is repeated.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opq_cloud.core.service import ServiceCounters
from opq_cloud.mauka.original.inbox import InboxMessage, PluginInbox
from opq_cloud.mauka.running.calls.plugin_cost import PluginCosts
from opq_plugins.host.worker.remote import Remote
from opq_plugins.host.worker.supervisor import KILLED, WorkerSupervisor
from opq_plugins.original.hosted import KIND
from opq_plugins.policy import Policy
from opq_plugins.worker import worker_wire as frames
from opq_plugins.worker.symbol_instances import ORIGINAL
from opq_plugins.worker_errors import ENDED
from opq_proto.errors import PluginError, StoreError
from opq_proto.kit import log as logs
from opq_proto.kit.rate_limit import RateLimitedLog

log = logs.get(service="mauka")

RAISED_IN_ROW = 5
"""The plug-in is stopped after it raised on this many messages in a row."""
ENDS_OF_MESSAGE = 3
"""A message during which its process ended this often is put aside."""
KILLS_OF_MESSAGE = 10
"""The same limit where it was killed from outside (kill -9, `kill-plugin`, the kernel's last resort)."""
ENDED_IN_ROW = 2
"""The plug-in is stopped after this many of those in a row."""
WAIT_S = 0.2
EXCHANGE_S = 0.002
UP_S = 1.0
MAX_SUBSCRIPTIONS = 1000
"""Topics of one plug-in, at most."""
LONGEST_TOPIC = 200
"""Characters of a topic, at most."""
Publish = Callable[[bytes, bytes], None]


class RemotePlugin(Remote):
    """The host's half: messages that the plug-in's own threads produce are published as they arrive."""

    def __init__(self, supervisor: WorkerSupervisor, symbol: str, publish: Publish) -> None:
        super().__init__(supervisor, KIND, symbol)
        self._publish = publish

    def accept_frame(self, frame: frames.OfSource | frames.LogLine) -> None:
        if isinstance(frame, frames.Payloads) and len(frame.payloads) == 2:
            self._publish(*frame.payloads)


@dataclass(frozen=True, slots=True)
class PluginVersion:
    """A running version: the deployed folder with its number, the process, and the plug-in's own facts."""

    folder: str
    number: int
    supervisor: WorkerSupervisor
    remote: RemotePlugin
    own_name: str
    subscriptions: tuple[str, ...]

    def close(self) -> None:
        self.remote.release()
        self.supervisor.close()


class OriginalPlugin:
    """`start`, which also replaces a version, `stop`, `kill`, `wake` and `status` are for any thread.

    Counters, by plug-in: `handled`, `failures`, `malformed`, `ends`, `set_aside`, `produced`.
    """

    def __init__(
        self,
        name: str,
        inbox: PluginInbox,
        publish: Publish,
        policy: Policy,
        counters: ServiceCounters,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change`: called when its subscriptions may have changed."""
        self.name = name
        self.trouble = ""
        """Why it was stopped, or its last failure; empty after a message that succeeded."""
        self.topics: tuple[str, ...] = ()
        """Its subscriptions, also while it is stopped."""
        self.produces: set[str] = set()
        """Topics that it has published on."""
        self.busy_since_s: float | None = None
        self.last_received_ms = 0
        self._inbox, self._publish_frames, self._policy = inbox, publish, policy
        self._counters, self._on_change = counters, on_change
        self._version: PluginVersion | None = None
        self._gave_up = False
        self._raised = self._ended = 0
        self._changing = threading.RLock()
        """Held while it is started, replaced or stopped."""
        self._between = threading.Lock()
        """Held while a message is handled."""
        self._costs = PluginCosts()
        self._wakened = threading.Event()
        self._exchanging = threading.Event()
        """Set while the next message has to wait, so that a version can take over."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._limited = RateLimitedLog(log)

    # -- for any thread

    @property
    def version(self) -> PluginVersion | None:
        return self._version

    @property
    def running(self) -> bool:
        return self._version is not None

    @property
    def gave_up(self) -> bool:
        """Whether it was stopped because it failed on message after message."""
        return self._gave_up

    def start(self, folder: Path, deployed: str, number: int, settings: Mapping[str, Any]) -> None:
        """Starts it, or lets this version take over between two messages; then messages put aside come again.

        Raises PluginError: it does not start, and the old version goes on.
        """
        with self._changing:
            made = self._made(folder, deployed, number, settings)
            if self._inbox.give_back(self.name):
                log.info("plugin.messages_given_back", plugin=self.name)
            self._raised = self._ended = 0
            self._exchanging.set()
            with self._between:
                old, self._version, self.topics = self._version, made, made.subscriptions
                self._gave_up, self.trouble = False, ""
            self._exchanging.clear()
            self._on_change()
            if old is not None:
                old.close()
            else:
                self._stopping = threading.Event()
                self._thread = threading.Thread(
                    target=self._work, args=(self._stopping,), name=f"mauka-{self.name}", daemon=True
                )
                self._thread.start()
            self._wakened.set()

    def stop(self) -> bool:
        """Ends its process; a message in progress comes again. False: it was not running."""
        with self._changing:
            version, self._version = self._version, None
            self._gave_up = False
            if version is None:
                return False
            self._stopping.set()
            self._wakened.set()
            version.supervisor.close()  # a thread that waits for its answer gets one
            self._on_change()
            return True

    def kill(self) -> int:
        """Kills its process, which is then started again; returns its pid, 0 if it has none."""
        version = self._version
        return version.supervisor.kill() if version is not None else 0

    def wake(self) -> None:
        """Wakes the thread that hands messages to the plug-in, because there are some."""
        self._wakened.set()

    def status(self) -> dict[str, Any]:
        version = self._version
        waiting, aside = self._inbox.counts(self.name)
        facts: dict[str, Any] = {"name": self.name, "waiting": waiting, "put_aside": aside}
        for name in ("handled", "failures", "malformed", "ends", "produced"):
            facts[name] = int(self._counters.of(name, self.name))
        if version is not None:
            process = version.supervisor.status()
            facts |= {"folder": version.folder, "version": version.number}
            facts |= {key: process[key] for key in ("pid", "crashes", "protections", "output_tail")}
        facts |= self._costs.row(self.name, facts.get("pid", 0))
        facts |= {"takes": list(self.topics), "gives": sorted(self.produces)}
        return facts | {"trouble": self.trouble or None}

    # -- internals

    def _made(self, folder: Path, deployed: str, number: int, settings: Mapping[str, Any]) -> PluginVersion:
        policy, trusted = self._policy, self.name in self._policy.trusted
        supervisor = WorkerSupervisor(self.name, folder, ORIGINAL, policy, trusted, lambda why: None)
        supervisor.start()
        try:
            remote = RemotePlugin(supervisor, self.name, self._publish_one)
            remote.configure(dict(settings))
            own_name, topics = remote.call("facts")
            good = isinstance(own_name, str) and isinstance(topics, list) and len(topics) <= MAX_SUBSCRIPTIONS
            if not good or not all(isinstance(each, str) and len(each) <= LONGEST_TOPIC for each in topics):
                raise PluginError(f"want at most {MAX_SUBSCRIPTIONS} topics of {LONGEST_TOPIC} characters")
        except (OSError, ValueError, TypeError, PluginError) as error:
            output = supervisor.status()["output_tail"]
            supervisor.close()
            tail = f"; its output: {str(output).strip()[-600:]}" if output else ""
            raise PluginError(f"plug-in {self.name} does not start: {error}{tail}") from None
        return PluginVersion(deployed, number, supervisor, remote, own_name or self.name, tuple(topics))

    def _work(self, stopping: threading.Event) -> None:
        message: InboxMessage | None = None
        while not stopping.is_set():
            if self._exchanging.is_set():
                stopping.wait(EXCHANGE_S)
                continue
            self._wakened.clear()
            try:
                with self._between:
                    version = None if stopping.is_set() else self._version
                    message = self._inbox.next(self.name) if version is not None else None
                    if version is not None and message is not None:
                        self._handle(version, message, stopping)
            except StoreError as error:  # the disk is full, or the service has ended
                self.trouble = str(error)
                self._limited.error("plugin.inbox", key=self.name, plugin=self.name, error=str(error))
                stopping.wait(UP_S)
            if self._gave_up and self._end_for_good():
                return
            if message is None:
                self._wakened.wait(WAIT_S)

    def _handle(self, version: PluginVersion, message: InboxMessage, stopping: threading.Event) -> None:
        if not version.supervisor.wait_up(UP_S) or stopping.is_set():
            self.trouble = version.supervisor.last_error
            return
        if not message.topic.startswith(version.subscriptions):
            self._inbox.remove(self.name, message)  # an earlier version subscribed to it
            return
        self.busy_since_s, self.last_received_ms = time.monotonic(), time.time_ns() // 1_000_000
        try:
            produced = version.remote.call("handle", message.topic, message.body)
            pairs = [] if produced is None else _checked_pairs(produced)
        except ENDED as error:
            if not stopping.is_set():  # otherwise we ended it
                self._note_end(message, str(error))
        except OSError as error:
            if version.supervisor.process is None:  # it ended before it had the message
                self.trouble = str(error)
            else:
                self._note_failure(message, str(error))
        except (ValueError, TypeError, PluginError) as error:
            self._note_failure(message, str(error))
        else:
            if produced is None:
                self._counters.add("malformed", label=self.name)
            else:
                for topic, body in pairs:
                    self._publish_one(topic, body)
                self._raised = self._ended = 0
                self.trouble = ""
            self._inbox.remove(self.name, message)
            self._counters.add("handled", label=self.name)
        finally:
            self._costs.add(self.name, time.monotonic() - self.busy_since_s)
            self.busy_since_s = None

    def _publish_one(self, topic: bytes, body: bytes) -> None:
        if len(self.produces) < MAX_SUBSCRIPTIONS:
            self.produces.add(topic[:LONGEST_TOPIC].decode(errors="replace"))
        self._counters.add("produced", label=self.name)
        self._publish_frames(topic, body)

    def _note_failure(self, message: InboxMessage, why: str) -> None:
        """Handles a message on which it raised."""
        self._counters.add("failures", label=self.name)
        self._set_aside(message)
        self._raised += 1
        self.trouble = f"{message.topic}: {why}"
        self._limited.warning(
            "plugin.failed", key=self.name, plugin=self.name, topic=message.topic, error=why
        )
        if self._raised >= RAISED_IN_ROW:
            self._give_up(f"raised on {self._raised} messages in a row")

    def _note_end(self, message: InboxMessage, why: str) -> None:
        """Handles that its process ended, by itself or because it hung, while it had the message."""
        self._counters.add("ends", label=self.name)
        self.trouble = f"{message.topic}: {why}"
        self._limited.warning("plugin.ended", key=self.name, plugin=self.name, topic=message.topic, error=why)
        self._inbox.note_end(message)
        from_outside = KILLED in why or "SIGKILL" in why
        if message.ends + 1 >= (KILLS_OF_MESSAGE if from_outside else ENDS_OF_MESSAGE):
            self._set_aside(message)
            self._ended += 1
            if self._ended >= ENDED_IN_ROW:
                self._give_up(f"its process ended again and again on each of {self._ended} messages in a row")

    def _set_aside(self, message: InboxMessage) -> None:
        self._inbox.put_aside(message)
        self._counters.add("set_aside", label=self.name)

    def _give_up(self, why: str) -> None:
        self.trouble = f"stopped: {why}; the last: {self.trouble}"
        log.error("plugin.stopped", plugin=self.name, why=self.trouble)
        self._gave_up = True

    def _end_for_good(self) -> bool:
        """Stops it, in its own thread. False: it was started again or stopped meanwhile."""
        with self._changing:
            if not self._gave_up:
                return False
            version, self._version = self._version, None
            if version is not None:
                version.supervisor.close()
        self._on_change()
        return True


def _checked_pairs(produced: object) -> list[tuple[bytes, bytes]]:
    """Returns topic and body of each. Raises TypeError: the worker's output is not trusted."""
    pairs = []
    for each in produced if isinstance(produced, list) else [None]:
        match each:
            case [bytes(topic), bytes(body)]:
                pairs.append((topic, body))
            case _:
                raise TypeError("it returned something other than pairs of topic and body")
    return pairs

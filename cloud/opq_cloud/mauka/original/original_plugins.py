"""Plug-ins of the original Mauka: which are deployed, the messages they receive, and their restarts.

    9883 --> reader --> inbox (disk) --> one thread and one confined process per plug-in --> 9882

The reader only writes messages to disk, so that no plug-in delays another one's messages.
"""

import threading
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from opq_cloud.core.backend.sockets import Socket, connect, service_context
from opq_cloud.core.backend.waits import PollableEvent, wait_for
from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.mauka.bus import bus_messages
from opq_cloud.mauka.bus.broker import MESSAGES_PER_PEER, Publisher, subscriber
from opq_cloud.mauka.original.confined_plugin import OriginalPlugin
from opq_cloud.mauka.original.deployments import PluginDeployment, PluginDeployments
from opq_cloud.mauka.original.inbox import PluginInbox
from opq_cloud.mauka.original.settings import network_of
from opq_cloud.mauka.plugin import BUSY, CRASHED, HEARTBEAT_KEY, IDLE, PUB_KEY, STOPPED, SUB_KEY
from opq_cloud.mauka.running.known.plugin_states import PluginStates
from opq_plugins.policy import Policy
from opq_proto.errors import FrameError, PluginError, StoreError
from opq_proto.kit import log as logs
from opq_proto.kit.zmq_inbox import waiting_messages

log = logs.get(service="mauka")

INBOX = "inbox.sqlite"
INBOX_RETRY_S = 1.0
JOIN_TOPIC = "mauka.original-plugins."
JOIN_S = 2.0
JOIN_POLL_S = 0.005
MESSAGES_PER_TURN = 500


class OriginalPlugins:
    """Counters: `received`, `malformed`, `queue_dropped`, those of `OriginalPlugin` and of `Publisher`."""

    name = "mauka.original-plugins"

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        policy: Policy,
        states: PluginStates,
        reserved: Collection[str] = (),
    ) -> None:
        """`folder`: <data>/mauka. `settings`: the flat keys that each plug-in gets as its `config`.

        `reserved`: names of Mauka's own plug-ins, which no other one may have.
        """
        self.counters = ServiceCounters()
        self.deployments = PluginDeployments(folder / "plugins")
        self.settings = dict(settings)
        self._folder, self._policy, self._states = folder, policy, states
        self._reserved = frozenset(reserved)
        self._plugins: dict[str, OriginalPlugin] = {}
        self._deployed: dict[str, PluginDeployment] = {}
        """Plug-in -> the deployment it was loaded from."""
        self._tried: dict[str, int] = {}
        """Folder -> its deployment that was loaded last, or failed at the start; no new one."""
        self._troubles: dict[str, str] = {}
        """Folder -> why it is not loaded; INBOX -> why it is not open."""
        self._changing = threading.RLock()
        self._resubscribe = PollableEvent()
        self._joined = threading.Condition()
        self._wanted_join = self._done_join = 0
        self._inbox: PluginInbox | None = None
        self._out: Publisher | None = None
        self._next_beat_s = 0.0

    # -- for the commands, from any thread

    def names(self) -> list[str]:
        return sorted(self._plugins)

    def load_folder(self, name: str) -> list[str]:
        """Runs the plug-ins that the current deployment of a folder lists; unloads those it no longer lists.

        Returns a sentence for each. Raises PluginError with all that do not start; the others run. A new
        deployment of which none runs is removed, so that the one before it also runs after a restart.
        """
        with self._changing:
            deployment = self.deployments.current(name)
            is_new = self._tried.get(name) != deployment.number
            for plugin in deployment.plugins:
                other = self._deployed.get(plugin)
                if other is not None and other.name != name:
                    if is_new:
                        self.deployments.remove(deployment)
                    raise PluginError(
                        f"plug-in {plugin} belongs to the folder {other.name} already; unload it first"
                    )
            loaded, wrong = [], []
            for plugin in deployment.plugins:
                try:
                    loaded.append(self._load(plugin, deployment))
                except PluginError as error:
                    wrong.append(str(error))
            if is_new and not loaded:
                self.deployments.remove(deployment)
                raise PluginError("; ".join(wrong))
            self._tried[name] = deployment.number
            gone = [its for its, one in self._deployed.items() if one.name == name]
            for plugin in sorted(set(gone) - set(deployment.plugins)):
                loaded.append(self.unload(plugin))
            if wrong:
                self._troubles[name] = "; ".join(wrong)
                raise PluginError("; ".join([*wrong, *loaded]))
            self._troubles.pop(name, None)
        return loaded

    def load(self, plugin: str) -> str:
        """Does the same as `load_folder` for one plug-in. Raises PluginError."""
        with self._changing:
            deployment = self.deployments.with_plugin(plugin)
            if deployment is None:
                known = ", ".join(self.deployments.names()) or "none"
                raise PluginError(f"no deployed folder lists a plug-in {plugin}; folders: {known}")
            return self._load(plugin, deployment)

    def unload(self, plugin: str) -> str:
        """Ends a plug-in and removes it with its waiting messages, until it is loaded again."""
        with self._changing:
            self._plugin(plugin).stop()
            self._plugins.pop(plugin)
            self._deployed.pop(plugin, None)
            self._states.unload(plugin)
            dropped = self._opened_inbox().clear(plugin)
            self._beat(plugin, plugin, STOPPED, {})
        waited = f"; {dropped} messages that waited for it are gone" if dropped else ""
        return f"{plugin} unloaded{waited}"

    def start(self, plugin: str) -> None:
        """Starts a plug-in. Raises PluginError: it runs already, is disabled, or does not start."""
        with self._changing:
            if self._plugin(plugin).running:
                raise PluginError(f"plug-in {plugin} runs already; restart-plugin starts it again")
            self._start(plugin)

    def stop(self, plugin: str) -> None:
        """Stops a plug-in. New messages for it wait until it is started again, unless it is disabled."""
        with self._changing:
            one = self._plugin(plugin)
            own_name = one.version.own_name if one.version is not None else plugin
            one.stop()
            self._beat(plugin, own_name, STOPPED, {})

    def kill(self, plugin: str) -> int:
        """Returns the pid of the killed process; 0: nothing ran."""
        return self._plugin(plugin).kill()

    def running(self, plugin: str) -> bool:
        return self._plugin(plugin).running

    def status(self, plugin: str) -> dict[str, Any]:
        one = self._plugin(plugin)
        return {"origin": "original", "enabled": self._states.enabled(plugin), **one.status()}

    def health(self) -> list[HealthReport]:
        """Returns a report for the whole, and one per plug-in."""
        parts = []
        for name, plugin in list(self._plugins.items()):
            version = plugin.version
            ok = not plugin.trouble and (version is None or version.supervisor.process is not None)
            number = f"version {version.number}" if version is not None else "stopped"
            parts.append(HealthReport(f"plug-in {name}", ok, info=plugin.trouble or number))
        troubles = dict(self._troubles)
        info = "; ".join(troubles.values()) or f"plug-ins of the original: {len(parts)}"
        return [HealthReport(self.name, not troubles, info=info), *parts]

    # -- the service's own thread

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        with ExitStack() as opened:
            context = opened.enter_context(service_context())
            inbox = self._wait_for_inbox(stop)
            if inbox is None:
                return
            opened.enter_context(closing(inbox))
            out = opened.enter_context(closing(Publisher(context, MESSAGES_PER_PEER, self.counters)))
            source = opened.enter_context(closing(subscriber(context, 100 * MESSAGES_PER_PEER, [])))
            out.connect(str(self.settings[PUB_KEY]), PUB_KEY)
            connect(source, str(self.settings[SUB_KEY]), SUB_KEY)
            opened.callback(self._end)
            self._inbox, self._out = inbox, out
            self._next_beat_s = time.monotonic() + 1.0
            loading = threading.Thread(target=self._load_all, args=(stop, ready), name=f"{self.name}-loading")
            loading.start()
            opened.callback(loading.join)
            topics: set[str] = set()
            while not stop.is_set():
                if self._resubscribe.is_set():
                    self._resubscribe.clear()
                    topics = self._subscribe(source, topics)
                if self._wait(stop, source, out):
                    self._read(source)
                self._send_heartbeats()

    def _wait_for_inbox(self, stop: threading.Event) -> PluginInbox | None:
        """Opens the inbox as soon as the disk allows; None: the service ends before that."""
        while not stop.is_set():
            try:
                inbox = PluginInbox(self._folder / INBOX)
            except StoreError as error:
                if INBOX not in self._troubles:
                    log.error("plugins.inbox_not_opened", error=str(error))
                self._troubles[INBOX] = str(error)
                stop.wait(INBOX_RETRY_S)
            else:
                self._troubles.pop(INBOX, None)
                return inbox
        return None

    def _end(self) -> None:
        """Ends the processes; messages stay in the inbox."""
        self._done_join = self._wanted_join
        with self._changing:
            enders = [threading.Thread(target=plugin.stop) for plugin in self._plugins.values()]
            for ender in enders:
                ender.start()
            for ender in enders:
                ender.join()
            self._plugins, self._deployed, self._out = {}, {}, None

    def _load_all(self, stop: threading.Event, ready: threading.Event | None) -> None:
        """Loads all deployed plug-ins at the start, except those that were unloaded by hand."""
        with self._changing:
            for name in self.deployments.names():
                try:
                    deployment = self.deployments.current(name)
                except PluginError as error:
                    self._note_trouble(name, str(error))
                    continue
                self._tried[name] = deployment.number
                wrong = []
                for plugin in deployment.plugins:
                    if stop.is_set():
                        return
                    if self._states.unloaded(plugin) or plugin in self._plugins:
                        continue
                    try:
                        self._load(plugin, deployment)
                    except PluginError as error:
                        wrong.append(str(error))
                if wrong:
                    self._note_trouble(name, "; ".join(wrong))
        if ready is not None:
            ready.set()

    def _note_trouble(self, folder: str, why: str) -> None:
        self._troubles[folder] = f"{folder}: {why}"
        log.error("plugins.not_loaded", folder=folder, error=why)

    def _subscribe(self, source: Socket, before: set[str]) -> set[str]:
        """Updates the socket's subscriptions; messages published after the join reach us."""
        wanted = set()
        for name, plugin in list(self._plugins.items()):
            version = plugin.version
            wanted |= {name, *plugin.topics} | ({version.own_name} if version is not None else set())
        wanted.add(f"{JOIN_TOPIC}{self._wanted_join}")
        for topic in sorted(wanted - before):
            if not topic.startswith(JOIN_TOPIC):
                source.subscribe(topic)
        source.subscribe(f"{JOIN_TOPIC}{self._wanted_join}")  # last: when it arrives, all others are active
        for topic in before - wanted:
            source.unsubscribe(topic)
        return wanted

    def _wait(self, stop: threading.Event, source: Socket, out: Publisher) -> bool:
        """Returns whether messages are there."""
        due_s = self._next_beat_s - time.monotonic()
        if self._wanted_join != self._done_join:
            out.send([f"{JOIN_TOPIC}{self._wanted_join}".encode(), b""])
            due_s = JOIN_POLL_S
        return source in wait_for(stop, source, self._resubscribe, due_s=due_s)

    def _read(self, source: Socket) -> None:
        rows: list[tuple[str, str, bytes]] = []
        controls: list[tuple[str, bytes]] = []
        plugins = list(self._plugins.items())
        for frames in waiting_messages(source, MESSAGES_PER_TURN):
            try:
                topic, body = bus_messages.read_topic(frames)
            except FrameError:
                self.counters.add("malformed")
                continue
            if topic.startswith(JOIN_TOPIC):
                self._note_join(topic)
                continue
            self.counters.add("received")
            for name, plugin in plugins:
                version = plugin.version
                if topic == name or (version is not None and topic == version.own_name):
                    controls.append((name, body))
                elif self._keeps(name, plugin, topic):
                    rows.append((name, topic, body))
        if rows:
            for name, count in self._opened_inbox().add(rows).items():
                self.counters.add("queue_dropped", count, label=name)
                log.warning("plugin.queue_full", plugin=name, dropped=count)
            for name in {name for name, _, _ in rows}:
                self._wake(name)
        for name, body in controls:
            if body == bus_messages.EXIT and self.running(name):
                log.info("plugin.exit", plugin=name)
                threading.Thread(target=self.stop, args=(name,)).start()

    def _wake(self, name: str) -> None:
        if (plugin := self._plugins.get(name)) is not None:
            plugin.wake()

    def _keeps(self, name: str, plugin: OriginalPlugin, topic: str) -> bool:
        """Returns True if messages of the topic are kept for it, also while it is stopped.

        Then its last known subscriptions count.
        """
        return self._states.enabled(name) and topic.startswith(plugin.topics)

    def _note_join(self, topic: str) -> None:
        """Notes that our join message arrived; other senders' topics with this beginning are ignored."""
        with self._joined:
            if topic != f"{JOIN_TOPIC}{self._wanted_join}":
                return
            self._done_join = self._wanted_join
            self._joined.notify_all()

    def _send_heartbeats(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_beat_s:
            return
        self._next_beat_s = now_s + float(self.settings[HEARTBEAT_KEY])
        for name, plugin in list(self._plugins.items()):
            version, busy_s = plugin.version, plugin.busy_since_s
            if version is None and not plugin.gave_up:
                continue
            state = CRASHED if version is None else IDLE if busy_s is None else BUSY
            own_name = name if version is None else version.own_name
            count = self.counters.of
            facts = {
                "messages_received": int(count("handled", name) + count("failures", name)),
                "messages_published": int(count("produced", name)),
                "bytes_received": 0,
                "bytes_published": 0,
                "failures": int(count("failures", name)),
                "last_error": plugin.trouble or None,
                "busy_s": 0.0 if busy_s is None else round(now_s - busy_s, 3),
                "interval_s": float(self.settings[HEARTBEAT_KEY]),
            }
            self._beat(name, own_name, state, facts)

    # -- internals

    def _beat(self, plugin: str, own_name: str, state: str, facts: Mapping[str, object]) -> None:
        one = self._plugins.get(plugin)
        handled = int(self.counters.of("handled", plugin))
        last_ms = one.last_received_ms if one is not None else 0
        message = bus_messages.heartbeat(own_name, state, last_ms, handled, facts)
        self._publish(bus_messages.HEARTBEAT.encode(), message.SerializeToString())

    def _publish(self, topic: bytes, body: bytes) -> None:
        if (out := self._out) is not None:
            out.send([topic, body])

    def _plugin(self, name: str) -> OriginalPlugin:
        if name not in self._plugins:
            raise PluginError(f"plug-in {name} is not loaded")
        return self._plugins[name]

    def _load(self, plugin: str, deployment: PluginDeployment) -> str:
        if plugin in self._reserved:
            raise PluginError(f"plug-in {plugin} is not run: Mauka has a plug-in of this name; rename yours")
        new = plugin not in self._plugins
        if new:
            policy = replace(self._policy, network=(*self._policy.network, *network_of(self.settings)))
            self._plugins[plugin] = OriginalPlugin(
                *(plugin, self._opened_inbox(), self._publish, policy, self.counters),
                on_change=self._resubscribe.set,
            )
        before = self._deployed.get(plugin)
        self._deployed[plugin] = deployment
        self._states.load(plugin)
        if not self._states.enabled(plugin):
            return f"{plugin} {deployment.number} loaded; it is disabled and does not run"
        try:
            self._start(plugin)
        except PluginError:
            if before is not None:
                self._deployed[plugin] = before
            elif new:
                del self._plugins[plugin], self._deployed[plugin]
            raise
        return (
            f"{plugin} {deployment.number} {'runs' if new else f'replaced {before.number if before else 0}'}"
        )

    def _start(self, plugin: str) -> None:
        """Starts a plug-in and waits until its subscriptions are active."""
        if not self._states.enabled(plugin):
            raise PluginError(f"plug-in {plugin} is disabled; enable-plugin {plugin} allows it to start")
        deployment = self._deployed[plugin]
        self._plugins[plugin].start(deployment.folder, deployment.name, deployment.number, self.settings)
        with self._joined:
            self._wanted_join += 1
            self._resubscribe.set()
            wanted = self._wanted_join
            if not self._joined.wait_for(lambda: self._done_join >= wanted, JOIN_S):
                log.warning("plugin.not_joined", plugin=plugin, waited_s=JOIN_S)
                self._done_join = self._wanted_join

    def _opened_inbox(self) -> PluginInbox:
        if self._inbox is None:
            raise PluginError("the service of plug-ins does not run")
        return self._inbox

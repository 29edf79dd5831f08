"""RulesService: engine, plug-in host and REST in one; its own process, or inside another service.

REST answers before the rules are loaded, and stops first; then engine and plug-ins' processes end.
"""

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opq_plugins.policy import network_setting
from opq_proto.errors import PortBusyError
from opq_proto.keys.rest_token import NAME, made_token
from opq_proto.kit.asgi_server import AsgiServer
from opq_proto.kit.http_server import bound_socket
from opq_proto.kit.system_record import identity_of
from opq_rules.api.app import create_app
from opq_rules.api.guard import AllowedTokens, RequestGuard, connection_of_users
from opq_rules.api.rules_config import Config, access, address, data_folder, folder, policy, tokens
from opq_rules.engine.clock import ended
from opq_rules.engine.engine import Engine
from opq_rules.rule_plugins import RulePlugins


class RulesService:
    """Attributes: `engine`, `plugins`, `port` (the actual one, where 0 was configured), `token` of REST."""

    def __init__(
        self,
        config: Config,
        stop: Callable[[], None] | None = None,
        own: Mapping[tuple[str, str], Callable[[], Any]] | None = None,
        private: Sequence[Path] = (),
        system_dir: Path | None = None,
        network_place: str = network_setting("plugins"),
    ) -> None:
        """Opens everything; nothing runs yet.

        `own`: sources and sinks of the surrounding service, ("source" or "sink", type) -> factory.
        `private`: its folders with keys and data, in which no rule reads or writes.
        `system_dir`: the data folder of the system that answers; None: the rules' own.
        `network_place`: where people set what plug-ins may use of the network.

        Raises:
            RuleError: the data folder cannot be used, or another engine uses it.
            PortBusyError: the address is in use.
            ConfigError: the tokens cannot be read, or a folder of `file_roots` is private.
        """
        host, port = address(config)
        hashes = tokens(config)
        allowed = access(config, private)
        self._socket = _bound(host.strip("[]"), port)
        self.port: int = self._socket.getsockname()[1]
        try:
            rights = replace(policy(config), network_place=network_place)
            self.plugins = RulePlugins(folder(config), rights, own or {}, allowed)
            self.engine = Engine(folder(config), self.plugins)
            allowed_tokens = AllowedTokens(made_token(folder(config)), folder(config) / NAME, hashes)
            self.token = allowed_tokens.own
        except BaseException:
            self._socket.close()
            raise
        self.plugins.used_by = self.engine.users_of
        self.plugins.on_change = self.engine.plugin_changed
        system = identity_of(system_dir or data_folder(config))
        app = create_app(self.engine, self.plugins, stop, lambda: guard.refused, system)
        is_worker = connection_of_users(self.plugins.worker_uids)
        guard = RequestGuard(app, allowed_tokens, config.most_body_mb << 20, is_worker)
        self._server = AsgiServer(guard, http="h11", ws="none")
        self._thread = threading.Thread(target=self._serve, name="rules-rest", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self.engine.start()

    def stop(self) -> list[str]:
        """Stops everything; returns names of the parts that did not end in time."""
        self._server.end()
        late = [] if ended(self._thread) else ["rest"]
        late += self.engine.stop()
        self.plugins.close()
        return late

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


def _bound(host: str, port: int) -> socket.socket:
    try:
        return bound_socket(host, port)
    except OSError as error:
        raise PortBusyError(
            f"stream rules: {host}:{port} cannot be used: {error.strerror or error}; give another `endpoint`"
        ) from error

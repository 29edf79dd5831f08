"""Who asks over loopback: another user's connection is told from our own, and a worker's is refused."""

import json
import os
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from free_ports import free_port
from plugin_zips import FUNCTION, Whose, plugin_zip, stored

from opq_plugins.policy_section import PluginRules
from opq_rules.api import rules_config
from opq_rules.api.guard import connection_of_users, uid_of
from opq_rules.api.rules_service import RulesService

ASK = """
import urllib.error, urllib.request


def asked(address):
    body = b'{"sql": "CREATE STREAM s () WITH (TYPE=\\\\"memory\\\\", DATASOURCE=\\\\"t\\\\")"}'
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data=body), timeout=240) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
""" + FUNCTION.replace("return args[0] * 2", "return asked(args[0])")


@pytest.mark.parametrize(
    ("family", "listens", "asks"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
    ],
)
def test_the_user_of_a_connection_is_told(family: int, listens: str, asks: str) -> None:
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            try:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                server.bind((listens, 0))
            except OSError as error:
                pytest.skip(f"no IPv6 here: {error}")
        else:
            server.bind((listens, 0))
        server.listen()
        with socket.create_connection((asks, server.getsockname()[1])) as client:
            taken, _ = server.accept()
            with closing(taken):
                ends = client.getsockname()[:2], (asks, server.getsockname()[1])
                assert uid_of(*ends) == os.getuid()
                assert connection_of_users(lambda: [os.getuid()])(*ends)
                assert not connection_of_users(lambda: [os.getuid() + 1])(*ends)
    assert uid_of(("192.0.2.1", 4), ("192.0.2.2", 5)) is None and uid_of(("no address", 4), ("", 5)) is None


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RulesService]:
    """A rule engine that opens its own port to plug-ins; as before Linux 6.7 any other port would."""
    port = free_port()
    policy = PluginRules(network=(f"tcp:{port}",), function_s=60.0)
    made = RulesService(
        rules_config.Config(data_dir=tmp_path / "data", endpoint=f"127.0.0.1:{port}", plugins=policy)
    )
    made.start()
    yield made
    made.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="a worker has its own user only where the server is root")
def test_a_worker_may_not_ask_for_definitions(service: RulesService) -> None:
    plugins = service.plugins
    plugins.create("function", "f", stored(plugins.uploads, plugin_zip("f", kind="function", code=ASK)))
    make = plugins.function("f")
    assert make is not None
    function, address = make(), f"http://127.0.0.1:{service.port}"
    assert function.exec([f"{address}/streams"], Whose()) == 403
    asked = urllib.request.Request(f"{address}/streams", headers={"Authorization": service.token})
    with urllib.request.urlopen(asked, timeout=240) as answer:
        assert json.load(answer) == []

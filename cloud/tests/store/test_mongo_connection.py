"""The rule engine's connection `mongo` is tried against a real server, where the store's tests have one."""

import pytest

from opq_rules.connections.mongo import Config, check

pytestmark = pytest.mark.timeout(600)  # the first that asks may have to build the server


def test_a_server_that_is_there_lets_a_connection_in(mongo_uri: str) -> None:
    check(Config(url=mongo_uri), 5.0)

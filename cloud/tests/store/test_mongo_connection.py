"""The rule engine's connection `mongo` is tried against a real server, where the store's tests have one."""

import pytest

from opq_rules.access import NOTHING
from opq_rules.sinks.mongo import Connection

pytestmark = pytest.mark.timeout(600)  # the first that asks may have to build the server


def test_a_server_that_is_there_lets_a_connection_in(mongo_uri: str) -> None:
    Connection(url=mongo_uri).check(5.0, NOTHING)

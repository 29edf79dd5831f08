"""Which addresses of one port two services cannot listen at together."""

from dataclasses import dataclass

import pytest

from opq_cloud.core.settings.endpoint_ports import shared_addresses


@dataclass(frozen=True)
class Services:
    http_endpoint: str
    box_endpoint: str


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("localhost:8917", "tcp://127.0.0.1:8917", True),
        ("127.0.0.1:8917", "tcp://127.0.0.1:8917", True),
        ("0.0.0.0:8917", "tcp://[::]:8917", True),
        ("0.0.0.0:8917", "tcp://*:8917", True),
        ("0.0.0.0:8917", "tcp://localhost:8917", True),
        ("[::]:8917", "tcp://127.0.0.1:8917", True),
        ("0.0.0.0:8917", "tcp://[::1]:8917", False),
        ("127.0.0.1:8917", "tcp://[::1]:8917", False),
        ("localhost:8917", "tcp://127.0.0.1:8918", False),
    ],
)
def test_addresses_of_one_port_meet(one: str, other: str, meet: bool) -> None:
    assert bool([*shared_addresses(Services(one, other))]) == meet

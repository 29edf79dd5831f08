"""Ports are claimed once, and what a program claimed once more by one program that it started."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from opq_proto.kit.port_claims import claim_ports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs abstract sockets")
CLAIM = """if True:
    import sys
    from contextlib import ExitStack
    from opq_proto.kit.port_claims import claim_ports
    held = ExitStack()
    print(claim_ports(held, map(int, sys.argv[1:])), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Two ports that no other program has, because they are bound here with the option of services."""
    with ExitStack() as opened:
        bound = [opened.enter_context(socket.socket()) for _ in range(2)]
        for each in bound:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in bound]


@contextmanager
def program(ports: list[int]) -> Iterator[str]:
    """A program that claims ports until the end of the block; yields those that it could not have."""
    words = [sys.executable, "-c", CLAIM, *map(str, ports)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        yield started.stdout.readline().strip()


def test_a_claim_holds_all_ports_or_none(ports: list[int]) -> None:
    first, second = ports
    with ExitStack() as held:
        assert claim_ports(held, [second]) == []
        with ExitStack() as other:
            assert claim_ports(other, ports) == [second]
            assert claim_ports(other, [first]) == [], "what was refused holds nothing"
    with ExitStack() as held:
        assert claim_ports(held, ports) == [], "claims end with their block"


def test_two_programs_cannot_claim_one_port(ports: list[int]) -> None:
    first, second = ports
    with program([first]) as one, program(ports) as other:
        assert (one, other) == ("[]", f"[{first}]")
        with ExitStack() as held:
            assert claim_ports(held, [first]) == [first], "a claim of a child is not its parent's"
            assert claim_ports(held, [second]) == []


def test_one_child_may_claim_its_parents_port(ports: list[int]) -> None:
    first, _ = ports
    with ExitStack() as held:
        assert claim_ports(held, [first]) == []
        with program([first]) as one, program([first]) as other:
            assert (one, other) == ("[]", f"[{first}]")


def test_refused_claims_queue_nothing_at_the_holder(ports: list[int]) -> None:
    """A queue of 4096 (net.core.somaxconn) was full after as many tries, and then children were refused."""
    first, _ = ports
    with ExitStack() as held:
        assert claim_ports(held, [first]) == []
        with program([first]) as one, socket.socket(socket.AF_UNIX) as other:
            assert one == "[]"
            with pytest.raises(ConnectionRefusedError):
                other.connect(f"\0opq-port-{first}")


def test_a_port_where_a_program_listens_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as held:
        port = listening.getsockname()[1]
        assert claim_ports(held, [port]) == [port]

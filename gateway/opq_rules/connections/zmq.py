"""zmq: an endpoint that is bound, or connected to."""

import time
from dataclasses import dataclass, field

import zmq
from zmq.utils.monitor import recv_monitor_message

USERS = frozenset({("sinks", "zmq")})


@dataclass(frozen=True, slots=True)
class Config:
    url: str = field(metadata={"help": "tcp://host:port or ipc://file"})
    bind: bool = True
    timeout: int = field(default=5000, metadata={"minimum": 1, "maximum": 600_000, "ms": True})

    def __post_init__(self) -> None:
        if not self.url.startswith(("tcp://", "ipc://")):
            raise ValueError(f"url  is {self.url!r}; want tcp://host:port or ipc://file")


def check(config: Config, wait_s: float) -> None:
    """To be bound: whether the address is free. Else: whether a ZeroMQ peer shakes hands there."""
    with zmq.Context() as own, own.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        try:
            if config.bind:
                socket.bind(config.url)
                return
            socket.connect(config.url)
            until_s = time.monotonic() + min(wait_s, config.timeout / 1000)
            while (left_s := until_s - time.monotonic()) > 0:
                if monitor.poll(max(1, round(left_s * 1000))):
                    recv_monitor_message(monitor)
                    return
        except zmq.ZMQError as error:
            raise ConnectionError(f"{config.url}: {error.strerror}") from error
        finally:
            socket.disable_monitor()
    raise TimeoutError(f"{config.url}: no peer answered")

"""A real gateway process on one port, and what its ring holds: for suites that end at the gateway.

It talks to no cloud: its uplink points to sockets in its own folder where nobody listens.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
import tomli_w

from opq_gateway.blocks import Block
from opq_gateway.ring.ring import Ring
from opq_proto.errors import OpqError
from opq_proto.keys import KeyFolder

STOP_S = 10.0


class GatewayFailedError(OpqError):
    """The gateway ended by itself, or did not do in time what was waited for."""


class GatewayProcess:
    """`opq-gateway run` for the `with` block, with one Box on `port`."""

    def __init__(self, port: str | Path, folder: Path, box_id: str = "1") -> None:
        self.folder = folder
        self.box_id = box_id
        self._port = str(port)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "GatewayProcess":
        self.folder.mkdir(parents=True, exist_ok=True)
        KeyFolder(self.folder / "curve").ensure([self.box_id])
        nowhere = {
            name: f"ipc://{self.folder / name[0]}"  # a socket's path has 107 bytes at most
            for name in ("trigger_endpoint", "command_endpoint", "response_endpoint")
        }
        config = self.folder / "gateway.toml"
        told = {
            "data_dir": str(self.folder),
            "health_endpoint": f"127.0.0.1:{_free_port()}",
            "box": [{"id": self.box_id, "port": self._port}],
            "uplink": nowhere,
        }
        config.write_text(tomli_w.dumps(told), encoding="utf-8")
        self._log = (self.folder / "gateway.log").open("wb")
        command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(config)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def wait_until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait for something that it should bring about.

        Raises:
            GatewayFailedError: it ended, or the time is over.
        """
        end = time.monotonic() + timeout_s
        while not condition():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > end:
                words = (self.folder / "gateway.log").read_text(errors="replace").splitlines()[-3:]
                raise GatewayFailedError(f"not within {timeout_s:g} s: {what}; gateway: {' | '.join(words)}")
            time.sleep(0.1)

    def blocks(self) -> list[Block]:
        """Everything in the ring now, in the order it was written."""
        folder = self.folder / "gateway" / f"box{self.box_id}" / "ring"
        if not folder.exists():
            return []
        ring = Ring(folder, self.box_id, 1.0)
        return ring.read_blocks(0, np.iinfo(np.int64).max)

    def samples(self) -> int:
        """How many samples the ring holds."""
        return sum(len(block.counts) for block in self.blocks())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

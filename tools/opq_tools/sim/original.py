"""`opq-tools sim N --control-port P`: Boxes on the original's simulator, controlled by HTTP as it was."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from opq_hil.box.box import Box
from opq_hil.original_sim.stream import OriginalSimControl, OriginalSimStream
from opq_proto.errors import ConfigError


def original_boxes(count: int, scenario: str | None) -> list[Box]:
    """Boxes 1 .. count on one stream of the original's simulator.

    Raises:
        ConfigError: with a scenario; its samples are made otherwise.
    """
    if scenario is not None:
        raise ConfigError("--control-port and --scenario are both given; samples come from one of them")
    stream = OriginalSimStream()
    boot_ids = (1 + secrets.randbelow(0xFFFF_FFFF) for _ in range(count))
    return [
        Box(str(number), stream, hardware="original simulator", boot_id=boot_id)
        for number, boot_id in enumerate(boot_ids, start=1)
    ]


@contextmanager
def controlled(hosted: list[Box], port: int | None, fifo: Path | None) -> Iterator[None]:
    """The control of `original_boxes` while the block runs; without a port there is none.

    Raises:
        ConfigError: a FIFO without a port.
        OpqError: as `OriginalSimControl`.
    """
    if port is None:
        if fifo is not None:
            raise ConfigError("--fifo: its frames are the original simulator's; give --control-port, too")
        yield
        return
    stream = hosted[0].source
    assert isinstance(stream, OriginalSimStream)
    with OriginalSimControl(stream, port, fifo) as control:
        click.echo(f"control http://127.0.0.1:{control.port}/")
        yield

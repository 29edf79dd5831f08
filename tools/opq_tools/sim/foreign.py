"""`opq-tools sim N --foreign cur|leg`: Boxes of the original straight on the brokers' CURVE ports."""

import threading
from pathlib import Path

import click

from opq_hil.box.box import Box
from opq_hil.box.control import serve, truth_written
from opq_hil.foreign.generations import foreign_host, key_folder
from opq_proto import log
from opq_proto.ending import stopped_by_signals
from opq_proto.errors import ConfigError, OpqError

MOST_NUMBER = 2**31 - 1


def run_foreign(
    generation: str,
    hosted: list[Box],
    first_id: int | None,
    data_dir: Path,
    port_offset: int,
    folder: Path,
    truth: Path | None,
) -> None:
    """Be online until Ctrl-C; the control socket for `sim event` is in `folder`, the truth in `truth`.

    Raises:
        ConfigError: an id or a port is beyond what there is.
        OpqError: keys are missing or unusable, or others run in `folder`.
    """
    log.configure("foreign-boxes", "warning")
    sources = {box.box_id: box.source for box in hosted}
    if first_id is not None:
        if first_id + len(hosted) - 1 > MOST_NUMBER:
            raise ConfigError(f"--first-id is {first_id}; the last Box would be beyond {MOST_NUMBER}")
        sources = {str(first_id + number): source for number, source in enumerate(sources.values())}
    try:
        host = foreign_host(generation, sources, key_folder(data_dir), port_offset)
    except ValueError as error:
        raise ConfigError(str(error)) from error

    def report() -> None:
        for box_id, place in host.ports.items():
            click.echo(f"box {box_id} {generation} {place}")

    host.on_open = report
    stop = threading.Event()
    try:
        with stopped_by_signals(stop), truth_written(host, truth):
            serve(host, folder, stop)
    except OSError as error:
        raise OpqError(f"boxes: {error.filename or folder}: {error.strerror or error}") from error

"""`python -m opq_hil.box`: many Boxes in one process, each on its own pty."""

import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import click

from opq_hil.box import Box
from opq_hil.control import Control
from opq_hil.faults import HARDWARE
from opq_hil.generator import Source
from opq_hil.grid import Grid
from opq_hil.host import BoxHost
from opq_hil.recording import read_recording
from opq_hil.replay import EVERY_S, LEAD_S, replays
from opq_hil.scenario import DEFAULT, Scenario, generators, grid_of, load_scenario, plain_generator
from opq_proto import log
from opq_proto.errors import ConfigError, OpqError


def free_ids(taken: Sequence[str], count: int) -> list[str]:
    """The smallest `count` Box ids that are not taken."""
    free = (str(number) for number in range(1, len(taken) + count + 1) if str(number) not in taken)
    return [next(free) for _ in range(count)]


def make_boxes(
    replay: Sequence[Path] = (),
    scenario: str | Path | None = None,
    simulated: int | None = None,
    every_s: float | None = None,
    lead_s: float | None = None,
    seed: int = 1,
) -> list[Box]:
    """The Boxes that the command's options ask for; with none of them the default scenario and one more.

    Raises:
        RecordingError, ConfigError: a recording or the scenario cannot be used.
    """
    if not replay and scenario is None and simulated is None:
        scenario, simulated = DEFAULT, 1
    sources: dict[str, tuple[str, Source]] = {}
    recordings = [read_recording(path) for path in replay]
    named = [recording.box_id for recording in recordings if recording.box_id]
    if len(set(named)) != len(named):
        raise ConfigError(f"two recordings are of the same Box ({', '.join(named)}); give each only once")
    others = iter(free_ids(named, len(recordings)))
    for played in replays(recordings, every_s or EVERY_S, lead_s if lead_s is not None else LEAD_S):
        box_id = played.recording.box_id or next(others)
        sources[box_id] = (f"replay of {played.recording.name}", played)
    told: Scenario | None = None
    if scenario is not None:
        told = load_scenario(scenario, {"every_s": every_s, "lead_s": lead_s})
        for box_id, generator in generators(told, seed).items():
            if box_id in sources:
                raise ConfigError(f"box {box_id} is both in the scenario and replayed; give one of them")
            sources[box_id] = ("opq-hil simulated", generator)
    grid = grid_of(told) if told else Grid(60.0, wander_hz=0.01, wander_s=47.0)
    nominal_v, nominal_hz = (told.nominal_v, told.nominal_hz) if told else (120.0, 60.0)
    for box_id in free_ids(list(sources), simulated or 0):
        sources[box_id] = (
            "opq-hil simulated",
            plain_generator(box_id, grid, nominal_v, nominal_hz, seed),
        )
    return [Box(box_id, source, hardware=hardware) for box_id, (hardware, source) in sources.items()]


def serve(host: BoxHost, folder: Path | None, stop: threading.Event) -> None:
    """Host Boxes until `stop`, with a control socket in `folder`.

    Raises:
        PortBusyError: others run in `folder`.
    """
    if folder is None:
        host.run(stop)
        return
    ready = threading.Event()
    problems: list[BaseException] = []

    def control() -> None:
        try:
            Control(host, folder).run(stop, ready)
        except (OpqError, OSError) as error:
            problems.append(error)
            stop.set()
            ready.set()

    thread = threading.Thread(target=control, name="control")
    thread.start()
    try:
        ready.wait()
        if not problems:
            host.run(stop)
    finally:
        stop.set()
        thread.join()
    if problems:
        raise problems[0]


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--replay", multiple=True, type=click.Path(path_type=Path), help="Recording (.i16) to play; repeatable."
)
@click.option("--scenario", help="Scenario file, or the name of a shipped one.")
@click.option(
    "--sim", "simulated", type=click.IntRange(0, 200), help="So many more Boxes on the scenario's grid."
)
@click.option(
    "--ports-dir",
    type=click.Path(path_type=Path),
    help="Folder for the links box<ID> and the control socket.",
)
@click.option(
    "--replay-every-s", "every_s", type=click.FloatRange(1), help="From play to play (60, or the scenario's)."
)
@click.option(
    "--lead-s", type=click.FloatRange(0.5), help="Steady before the first play (10, or the scenario's)."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all random numbers.")
@click.option(
    "--bad-wire", is_flag=True, help="921,600 baud, reads of 1-64 bytes, 1e-5 of the bytes corrupted."
)
def main(
    replay: tuple[Path, ...],
    scenario: str | None,
    simulated: int | None,
    ports_dir: Path | None,
    every_s: float | None,
    lead_s: float | None,
    seed: int,
    bad_wire: bool,
) -> None:
    """Host simulated and replayed Boxes, each on its own pty, until SIGTERM.

    Example: python -m opq_hil.box --scenario lightning_dip --sim 1 --ports-dir /tmp/boxes
    """
    log.configure("boxes")
    stop = stop_on_signals()
    try:
        boxes = make_boxes(replay, scenario, simulated, every_s, lead_s, seed)
        serve(BoxHost(boxes, HARDWARE if bad_wire else None, ports_dir), ports_dir, stop)
    except (OpqError, OSError) as error:
        click.echo(f"boxes: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    main()

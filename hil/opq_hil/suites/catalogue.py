"""All scenarios by name. A new scenario is an entry in its module's SCENARIOS."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from opq_hil.backends.backend import Backend
from opq_hil.backends.firmware import Firmware
from opq_hil.suites import (
    cuts,
    discharge,
    line_faults,
    live,
    recordings,
    sampling,
    supervision,
    timekeeping,
    updates,
)
from opq_hil.suites.scenario import FirmwareScenario, ScenarioVerdict, play
from opq_proto.errors import ConfigError

SCENARIOS: Mapping[str, FirmwareScenario] = {
    scenario.name: scenario
    for module in (
        sampling,
        recordings,
        timekeeping,
        line_faults,
        supervision,
        updates,
        cuts,
        live,
        discharge,
    )
    for scenario in module.SCENARIOS
}
EVERY_RUN: Mapping[str, str] = {
    "boots": "every board that is built boots, samples and sends, the same bytes each time",
    "loss_and_return": "it keeps time: acquiring, locked, holdover, locked, as the clock on the PC does",
    "live_commands": "it takes and refuses commands on a line in real time, and starts again",
}
"""Scenario -> the property of the binary that it proves. pytest plays these by default, others with `-m "slow
or soak"`.

Also by default: supply, watchdog, a damaged line and a flood in device/tests/test_app_binary.py, an update in
device/tests/test_boot_binary.py, a dip and a killed gateway in tools/tests/test_up_emulated.py.
"""
EMULATORS = 2
"""How many emulators run at the same time: one per core of a small machine."""


def chosen(
    names: Sequence[str], suite: str | None = None, soaks: bool = False
) -> tuple[FirmwareScenario, ...]:
    """Scenarios by name; without names all of a suite (None: both suites), soaks only where `soaks` is true.

    Raises:
        ConfigError: a name is unknown; the text lists all.
    """
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise ConfigError(f"scenario {', '.join(unknown)}: unknown; there are {', '.join(SCENARIOS)}")
    if names:
        return tuple(SCENARIOS[name] for name in names)
    return tuple(
        scenario
        for scenario in SCENARIOS.values()
        if scenario.soak <= soaks and suite in (None, scenario.suite)
    )


def play_all(
    scenarios: Sequence[FirmwareScenario],
    backend: Backend,
    firmware: Mapping[str, Firmware],
    folder: Path,
    on_verdict: Callable[[ScenarioVerdict], None] = lambda _: None,
) -> list[ScenarioVerdict]:
    """Plays scenarios, EMULATORS of suite A at a time, then those of suite B one by one.

    `on_verdict` is called as each ends, one call at a time, from any thread. An interrupt (Ctrl-C) ends
    what runs.
    """
    lock = threading.Lock()
    interrupted = threading.Event()

    def one(scenario: FirmwareScenario) -> ScenarioVerdict:
        verdict = play(scenario, backend, firmware, folder, time.monotonic)
        with lock:
            if not interrupted.is_set():
                on_verdict(verdict)
        return verdict

    played = [scenario for scenario in scenarios if scenario.suite == "A"]
    played.sort(key=lambda scenario: -scenario.virtual_s)
    if backend.deterministic:
        found = _side_by_side(one, played, interrupted)
    else:
        found = {scenario.name: one(scenario) for scenario in played}
    for scenario in scenarios:
        if scenario.suite == "B":
            found[scenario.name] = one(scenario)
    return [found[scenario.name] for scenario in scenarios]


def _side_by_side(
    one: Callable[[FirmwareScenario], ScenarioVerdict],
    scenarios: Sequence[FirmwareScenario],
    interrupted: threading.Event,
) -> dict[str, ScenarioVerdict]:
    with ThreadPoolExecutor(EMULATORS) as pool:
        futures = {scenario.name: pool.submit(one, scenario) for scenario in scenarios}
        try:
            return {name: future.result() for name, future in futures.items()}
        except BaseException:  # the pool would wait for its threads and their emulators: minutes in a soak
            interrupted.set()
            for future in futures.values():
                future.cancel()
            while any(future.running() for future in futures.values()):
                _end_children()
                time.sleep(0.1)
            raise


def _end_children() -> None:
    """Ends emulators and gateways; called repeatedly until their scenarios have given up."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()

"""Power cuts in the middle of flash operations: the result is old or new, never broken, and the Box runs.

The n-th program or erase of a run is torn; the next run starts from that flash with its RAM randomised.
"""

from collections.abc import Iterator
from pathlib import Path

from opq_hil.backends.backend import FirmwareRun
from opq_hil.suites.faults import logged
from opq_hil.suites.scenario import Bench, Figures, FirmwareScenario, SkippedError, require
from opq_hil.suites.updates import BOARD, BOOT_NS, ScriptedMessages, Versions, confirmed, update_script
from opq_hil.world.strategy import NotReachedError, when
from opq_hil.world.world import NS, PowerScript, World
from opq_proto.firmware.image import Slot
from opq_proto.link.messages import Command, Operation, Settings

FEW_CUTS = 2
"""Cuts of each kind in a run of minutes."""
SAVE_CUTS, UPDATE_CUTS = 40, 20
"""Cuts in a normal run, 60 in all (an update takes 15 s each time); device/tests has 1e5 cuts."""
SOAK_CUTS = 250
OBSERVED_NS = 5 * NS // 2


def operations(run: FirmwareRun) -> int:
    """Number of programs and erases of a run."""
    return int(run.report["flash"]["operations"])


def spread(first: int, last: int, count: int) -> Iterator[tuple[int, int]]:
    """Yields (operation, seed): first..last as evenly as `count` allows, each time torn in another way."""
    span = last - first + 1
    for number in range(count):
        at = first + (number * span // count if count <= span else number % span)
        yield at, 1 + number


def looked_at(bench: Bench, flash: Path, what: str) -> tuple[FirmwareRun, dict[str, str]]:
    """Starts from a torn flash; the Box must sample and report its settings."""
    ask: ScriptedMessages = ((BOOT_NS, Command(9, Operation.GET_SETTINGS)),)
    run = bench.run(World(OBSERVED_NS, gps=None, messages=ask), BOARD, name="after", flash=flash)
    try:
        when(run.capture.received, "running, sampling")
    except NotReachedError as error:
        require(False, f"bricked by {what}: {error}; see {run.folder}")
    found = run.capture.of(Settings)
    require(bool(found), f"no settings after {what}; see {run.folder}")
    return run, dict(found[-1].values)


def _settings(bench: Bench, cuts: int) -> Figures:
    flash = confirmed(bench)
    put: ScriptedMessages = ((BOOT_NS, Command(8, Operation.PUT_SETTING, "nominal_hz=50")),)
    whole = bench.run(World(OBSERVED_NS, gps=None, messages=put), BOARD, name="whole", flash=flash)
    idle, before = looked_at(bench, flash, "nothing")
    first, last = operations(idle) + 1, operations(whole)
    if first > last:
        raise SkippedError("this backend counts no flash operations")
    old = new = 0
    for operation, seed in spread(first, last, cuts):
        what = f"a cut in operation {operation} of a save (seed {seed})"
        world = World(OBSERVED_NS, gps=None, messages=put, power=PowerScript(cut_after=operation), seed=seed)
        torn = bench.run(world, BOARD, name="cut", flash=flash)
        require(torn.ended == "cut" and torn.flash is not None, f"{what} did not happen: {torn.ended}")
        assert torn.flash is not None
        run, values = looked_at(bench, torn.flash, what)
        hz = values.pop("nominal_hz", "none")
        require(hz in ("60", "50"), f"nominal_hz is {hz} after {what}; see {run.folder}")
        rest = {key: value for key, value in before.items() if key != "nominal_hz"}
        require(values == rest, f"other settings changed after {what}; see {run.folder}")
        old, new = old + (hz == "60"), new + (hz == "50")
        bench.delete_runs(torn, run)
    return {"cuts": old + new, "old": old, "new": new, "operations_of_a_save": last - first + 1}


def _update(bench: Bench, cuts: int) -> Figures:
    flash = confirmed(bench)
    update = update_script(Versions(bench.firmware(BOARD)).image(Slot.B, step=1), BOOT_NS, 10)
    whole = bench.run(
        World(update.end_ns + NS, gps=None, messages=update.messages), BOARD, name="whole", flash=flash
    )
    idle, before = looked_at(bench, flash, "nothing")
    first, last = operations(idle) + 1, operations(whole)
    if first > last:
        raise SkippedError("this backend counts no flash operations")
    old = new = 0
    half = cuts // 2  # the last 400 operations: header and marks, where the new image replaces the old one
    places = [*spread(first, last, cuts - half), *spread(max(first, last - 400), last, half)]
    for operation, seed in places:
        what = f"a cut in operation {operation} of an update (seed {seed})"
        world = World(
            update.end_ns + NS,
            gps=None,
            messages=update.messages,
            power=PowerScript(cut_after=operation),
            seed=seed,
        )
        torn = bench.run(world, BOARD, name="cut", flash=flash)
        require(torn.ended == "cut" and torn.flash is not None, f"{what} did not happen: {torn.ended}")
        assert torn.flash is not None
        run, values = looked_at(bench, torn.flash, what)
        require(values == before, f"settings changed after {what}; see {run.folder}")
        require(not logged(run, "box.settings_default"), f"settings were lost after {what}; see {run.folder}")
        is_new = runs_slot_b(torn.flash)
        old, new = old + (not is_new), new + is_new
        bench.delete_runs(torn, run)
    return {"cuts": old + new, "old": old, "new": new, "operations_of_an_update": last - first + 1}


def runs_slot_b(flash: Path) -> bool:
    """True if slot B's header is whole: it is written last, so the image is then whole too."""
    return flash.read_bytes()[0x80000:0x80004] == b"OPQF"


def cuts_settings(bench: Bench) -> Figures:
    """40 cuts spread over every write of one save."""
    return _settings(bench, SAVE_CUTS)


def cuts_update(bench: Bench) -> Figures:
    """20 cuts spread over one update, half of them where the new image replaces the old one."""
    return _update(bench, UPDATE_CUTS)


def few_cuts(bench: Bench) -> Figures:
    """2 cuts in a save, 2 in an update."""
    return _both(bench, FEW_CUTS)


def many_cuts(bench: Bench) -> Figures:
    """500 cuts, half of them in a save, half in an update."""
    return _both(bench, SOAK_CUTS)


def _both(bench: Bench, cuts: int) -> Figures:
    found = {f"settings_{name}": value for name, value in _settings(bench, cuts).items()}
    return found | {f"update_{name}": value for name, value in _update(bench, cuts).items()}


SCENARIOS = (
    FirmwareScenario(
        "few_cuts", "4 power cuts, in a save of settings and in an update", few_cuts, virtual_s=80
    ),
    FirmwareScenario(
        "cuts_settings",
        "40 power cuts spread over a save of settings",
        cuts_settings,
        virtual_s=205,
    ),
    FirmwareScenario("cuts_update", "20 power cuts spread over an update", cuts_update, virtual_s=390),
    FirmwareScenario("many_cuts", "500 power cuts", many_cuts, virtual_s=6000, soak=True),
)

"""Power cuts in the middle of flash operations: the result is old or new, never broken, and the Box runs.

The n-th program or erase of a run is torn; the next run starts from that flash with its RAM randomised. Each
cut is a line of `cuts.jsonl` in the scenario's folder as soon as it is judged. The same command with the same
`--out` goes on after an interruption.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from opq_hil.backends.backend import FirmwareRun
from opq_hil.backends.board import BoardBackend
from opq_hil.suites.box_update import update_box
from opq_hil.suites.line_faults import logged
from opq_hil.suites.scenario import (
    Bench,
    Figures,
    FirmwareScenario,
    ScenarioFailedError,
    SkippedError,
    require,
)
from opq_hil.suites.updates import (
    BOOT_NS,
    ScriptedMessages,
    Versions,
    box_versions,
    confirmed,
    update_script,
)
from opq_hil.world.line import BenchLine, PortLostError
from opq_hil.world.strategy import NotReachedError, reach, when
from opq_hil.world.world import NS_PER_S, PowerScript, World
from opq_proto.firmware.image import HEADER_BYTES, Slot
from opq_proto.link.messages import Acknowledgement, Command, Operation, Settings, Status

CUTS_PER_KIND = 2
"""Cuts of each kind in a run of minutes."""
SAVE_CUTS = 40
"""Cuts in saves of a normal run; device/tests has 1e5 cuts."""
UPDATE_CUTS = 20
"""Cuts in updates of a normal run; an update takes 15 s each time."""
SOAK_CUTS = 250
SOAK_EMULATORS = 2
"""Emulators of `many_cuts` at the same time."""
OBSERVED_NS = 5 * NS_PER_S // 2
SAVES_S = 1.0
"""Time over which cuts in a board's saves are spread: its flash erases a sector in 0.5 s at most."""
UPDATE_S = 60.0
"""The same for an update, from its begin to its first start."""
SAVED = "led_percent"
"""The setting that a board saves: nothing but the lamps uses it."""
SAVED_VALUES = 101
SAVES_AHEAD = 8
"""Saves that wait in the Box: it is never idle between two (device/app/commands.py takes 4 a round)."""
ANSWER_S = 30.0
"""Limit for a Box that answers or saves: an erase of a sector of 16 KB takes 0.5 s at most."""
SLOT_B = Slot.B.address - 0x08000000
ASK_SETTINGS = 9
"""Id of the command after a cut that requests the settings."""
ASK_SLOT = 10
"""Id of the command that requests the running slot."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One power cut: in which flash operation of what, and the seed of how it tears and of the RAM."""

    what: str
    operation: int
    seed: int

    def __str__(self) -> str:
        return f"a cut in operation {self.operation} of {self.what} (seed {self.seed})"


class CutLog:
    """The judged cuts of a scenario in one file: a line with the start, then a line per cut.

    Attributes:
        outcomes: cut -> "old" or "new".
    """

    def __init__(self, path: Path, start: Mapping[str, str]) -> None:
        """Reads the cuts of an interrupted run; those that failed are played again.

        `start`: the flash and the emulator that all cuts of the file begin with.

        Raises:
            ScenarioFailedError: its cuts began with another flash or emulator, or it is not such a file.
        """
        self.outcomes: dict[Cut, str] = {}
        self._path = path
        self._lock = threading.Lock()
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        try:
            head, *lines = [json.loads(line) for line in whole.splitlines()] or [dict(start)]
            for line in lines:
                cut = Cut(line["what"], line["operation"], line["seed"])
                if line["outcome"] in ("old", "new"):
                    self.outcomes[cut] = line["outcome"]
        except (ValueError, KeyError, TypeError) as error:
            raise ScenarioFailedError(
                f"{path}: this is not a log of cuts ({error}); use another --out"
            ) from error
        require(head == start, f"{path}: its cuts began with {head}, now it is {start}; use another --out")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(whole or json.dumps(head) + "\n", encoding="utf-8")

    def add(self, cut: Cut, outcome: str) -> None:
        """Adds a judged cut: "old", "new", or what was wrong. May be called from several threads."""
        with self._lock:
            if outcome in ("old", "new"):
                self.outcomes[cut] = outcome
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(cut) | {"outcome": outcome}) + "\n")


def operations(run: FirmwareRun) -> int:
    """Number of programs and erases of a run."""
    return int(run.report["flash"]["operations"])


def spread(first: int, last: int, count: int) -> Iterator[tuple[int, int]]:
    """Yields (operation, seed): first..last as evenly as `count` allows, each time torn in another way."""
    span = last - first + 1
    for number in range(count):
        at = first + (number * span // count if count <= span else number % span)
        yield at, 1 + number


def looked_at(
    bench: Bench, flash: Path | None, what: str, settings: Mapping[str, str] | None = None
) -> tuple[FirmwareRun, dict[str, str]]:
    """Starts from a torn flash (None: the board's); the Box must sample and report its settings.

    `settings` are saved before, and put back at the end of the scenario: a board only.
    """
    ask: ScriptedMessages = (
        (BOOT_NS, Command(ASK_SETTINGS, Operation.GET_SETTINGS)),
        (BOOT_NS + NS_PER_S // 2, Command(ASK_SLOT, Operation.UPDATE_BEGIN, "4096")),  # erases nothing yet
    )
    world = World(OBSERVED_NS, gps=None, messages=ask)
    run = bench.run(world, name="after", flash=flash, settings=settings)
    try:
        when(run.capture.received, "running, sampling")
    except NotReachedError as error:
        require(False, f"bricked by {what}: {error}; see {run.folder}")
    found = run.capture.of(Settings)
    require(bool(found), f"no settings after {what}; see {run.folder}")
    return run, dict(found[-1].values)


def running_slot(run: FirmwareRun, what: str, trial: Slot = Slot.B) -> Slot:
    """The slot that runs by the Box's own word: it takes an update for the other one, and none on trial.

    `trial`: the slot that an update before it was for.
    """
    answers = {answer.command_id: answer for answer in run.capture.of(Acknowledgement)}
    answer = answers.get(ASK_SLOT)
    if answer is not None and answer.status is Status.DONE and answer.detail in Slot.__members__:
        return Slot[answer.detail].other
    on_trial = answer is not None and answer.status is Status.BUSY and "trial" in answer.detail
    require(on_trial, f"after {what} the Box answers to an update with {answer}; see {run.folder}")
    return trial


def _settings(bench: Bench, cuts: int, emulators: int = 1) -> Figures:
    if bench.box is not None:
        return _settings_of_a_board(bench, bench.box, cuts)
    flash = confirmed(bench)
    put: ScriptedMessages = ((BOOT_NS, Command(8, Operation.PUT_SETTING, "nominal_hz=50")),)
    world = World(OBSERVED_NS, gps=None, messages=put)
    before, first, last = _without_a_cut(bench, flash, world)

    def judge(run: FirmwareRun, values: dict[str, str], torn: Path, what: str) -> str:
        hz = values.pop("nominal_hz", "none")
        require(hz in ("60", "50"), f"nominal_hz is {hz} after {what}; see {run.folder}")
        rest = {key: value for key, value in before.items() if key != "nominal_hz"}
        require(values == rest, f"other settings changed after {what}; see {run.folder}")
        require(running_slot(run, what) is Slot.A, f"the other slot runs after {what}; see {run.folder}")
        return "old" if hz == "60" else "new"

    places = [Cut("a save", *place) for place in spread(first, last, cuts)]
    found = _cut_at(bench, flash, world, places, judge, emulators)
    return found | {"operations_of_a_save": last - first + 1}


def _settings_of_a_board(bench: Bench, box: BoardBackend, cuts: int) -> Figures:
    """As `_settings`, by the bench's relay: the Box saves value after value until its supply is gone."""
    outcomes, saves, trial = [], 0, _with_relay(box).running().slot.other
    for number in range(cuts):
        what = f"cut {number + 1} of {cuts} in saves"
        _, before = looked_at(bench, None, "nothing", {SAVED: saved_value(0)})
        with (
            box.cut_meanwhile((number + 1) * SAVES_S / (cuts + 1)) as is_off,
            bench.live(World(NS_PER_S)) as live,
            BenchLine(live.port, live.now_s) as line,
        ):
            reach(line, "running", ANSWER_S)
            done, sent = saves_until(line, is_off)
        run, values = looked_at(bench, None, what)
        value = values.get(SAVED, "none")
        kept = [save for save in range(done, sent + 1) if saved_value(save) == value]
        require(bool(kept), f"{SAVED} is {value} after {done} to {sent} saves and {what}; see {run.folder}")
        require(values == before | {SAVED: value}, f"other settings changed after {what}; see {run.folder}")
        require(running_slot(run, what, trial) is not trial, f"the other slot runs after {what}")
        outcomes.append("old" if kept[0] < sent else "new")
        saves += kept[0]
    return figures_of_saves(outcomes, saves)


def figures_of_saves(outcomes: Sequence[str], saves: int) -> Figures:
    """Of cuts on a board: "old" where it still had values to save; `saves` that it did before the cuts.

    Raises:
        SkippedError: it was through with all that was sent, so maybe no cut fell into a save.
    """
    if not saves or "old" not in outcomes:
        found = f"{len(outcomes)} cuts, {saves} saves before them, {outcomes.count('old')} left an old value"
        raise SkippedError(f"no cut fell into a save: {found}")
    counts = {"old": outcomes.count("old"), "new": outcomes.count("new")}
    return {"cuts": len(outcomes), "saves": saves, **counts}


def saved_value(save: int) -> str:
    """The value of the save of this number; 0: before the first."""
    return str(save % SAVED_VALUES)


def saves_until(line: BenchLine, is_off: Callable[[], bool]) -> tuple[int, int]:
    """Sends one value after the other, SAVES_AHEAD more than are acknowledged, so that the Box always saves.

    Returns the number of the last acknowledged save, and of the last that was sent. The port may go with the
    supply.
    """
    sent, done, seen = list[int](), 0, len(line.received)

    def take_answers() -> None:
        nonlocal done, seen
        new = [found.message for found in line.received[seen:]]
        seen += len(new)
        for message in new:
            if isinstance(message, Acknowledgement) and message.command_id in sent:
                done = sent.index(message.command_id) + 1
                require(message.status is Status.DONE, f"save {done} ended as {message}")

    with suppress(PortLostError):
        while not is_off():
            while len(sent) < done + SAVES_AHEAD:
                value = saved_value(len(sent) + 1)
                sent.append(line.request(Operation.PUT_SETTING, f"{SAVED}={value}"))
            line.read(ANSWER_S, lambda: len(line.received) > seen or is_off())
            take_answers()
    take_answers()
    return done, len(sent)


def _update_of_a_board(bench: Bench, box: BoardBackend, cuts: int) -> Figures:
    """As `_update`, by the bench's relay at times that are spread over the gateway's update."""
    _with_relay(box)
    outcomes = []
    for number in range(cuts):
        running, versions = box_versions(bench, box)
        _, before = looked_at(bench, None, "nothing")
        what = f"a cut {number + 1} of {cuts} in an update"
        with (
            box.cut_meanwhile((number + 1) * UPDATE_S / (cuts + 1)) as is_off,
            bench.live(World(NS_PER_S)) as live,
            BenchLine(live.port, live.now_s) as line,
        ):
            reach(line, "sampling", 30)
            with suppress(PortLostError):  # the port may go with the supply
                update_box(line, {slot: versions.image(slot, step=1) for slot in Slot}, is_off)
        run, values = looked_at(bench, None, what)
        require(values == before, f"settings changed after {what}; see {run.folder}")
        slot = running_slot(run, what, running.slot.other)
        outcomes.append("old" if slot is running.slot else "new")
    return {"cuts": cuts, "old": outcomes.count("old"), "new": outcomes.count("new")}


def _with_relay(box: BoardBackend) -> BoardBackend:
    """The board.

    Raises:
        SkippedError: the bench has no relay.
    """
    why = box.why_not(World(OBSERVED_NS, power=PowerScript(cut_ns=1)))
    if why:
        raise SkippedError(why)
    return box


def _update(bench: Bench, cuts: int, emulators: int = 1) -> Figures:
    if bench.box is not None:
        return _update_of_a_board(bench, bench.box, cuts)
    flash = confirmed(bench)
    image = Versions(bench.firmware()).image(Slot.B, step=1)
    update = update_script(image, BOOT_NS, 10)
    world = World(update.end_ns + NS_PER_S, gps=None, messages=update.messages)
    before, first, last = _without_a_cut(bench, flash, world)

    def judge(run: FirmwareRun, values: dict[str, str], torn: Path, what: str) -> str:
        require(values == before, f"settings changed after {what}; see {run.folder}")
        require(not logged(run, "box.settings_default"), f"settings were lost after {what}; see {run.folder}")
        slot, whole = running_slot(run, what), has_header(torn, image)
        require((slot is Slot.B) == whole, f"slot {slot.name} runs after {what}; see {run.folder}")
        return "new" if whole else "old"

    half = cuts // 2  # the last 400 operations: header and marks, where the new image replaces the old one
    points = [*spread(first, last, cuts - half), *spread(max(first, last - 400), last, half)]
    places = [Cut("an update", *place) for place in points]
    found = _cut_at(bench, flash, world, places, judge, emulators)
    return found | {"operations_of_an_update": last - first + 1}


def _without_a_cut(bench: Bench, flash: Path, world: World) -> tuple[dict[str, str], int, int]:
    """Settings before `world`, and the first and last of the flash operations that it makes."""
    whole = bench.run(world, name="whole", flash=flash)
    idle, before = looked_at(bench, flash, "nothing")
    first, last = operations(idle) + 1, operations(whole)
    if first > last:
        raise SkippedError("this backend counts no flash operations")
    return before, first, last


def _cut_at(
    bench: Bench,
    flash: Path,
    world: World,
    cuts: Sequence[Cut],
    judge: Callable[[FirmwareRun, dict[str, str], Path, str], str],
    emulators: int,
) -> dict[str, int]:
    """Plays `world` with each of the cuts, and a start after it, which `judge` finds "old" or "new".

    Raises:
        ScenarioFailedError: some cuts left neither. All are played before that, and each is in the log.
    """
    start = {
        "flash_sha256": hashlib.sha256(flash.read_bytes()).hexdigest(),
        "emulator": bench.backend.version,
    }
    log = CutLog(bench.folder / "cuts.jsonl", start)

    def one(cut: Cut) -> str:
        """The fault that this cut shows; empty if there is none."""
        what = str(cut)
        try:
            power = PowerScript(cut_after=cut.operation)
            torn = bench.run(replace(world, power=power, seed=cut.seed), name="cut", flash=flash)
            require(torn.ended == "cut" and torn.flash is not None, f"{what} did not happen: {torn.ended}")
            assert torn.flash is not None
            run, values = looked_at(bench, torn.flash, what)
            outcome = judge(run, values, torn.flash, what)
        except ScenarioFailedError as error:
            log.add(cut, str(error))
            return str(error)
        log.add(cut, outcome)
        bench.delete_runs(torn, run)
        return ""

    with ThreadPoolExecutor(emulators) as pool:
        try:
            faults = [
                fault for fault in pool.map(one, [cut for cut in cuts if cut not in log.outcomes]) if fault
            ]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    require(not faults, f"{len(faults)} of {len(cuts)} cuts failed; the first: {faults[0] if faults else ''}")
    outcomes = [log.outcomes[cut] for cut in cuts]
    return {"cuts": len(outcomes), "old": outcomes.count("old"), "new": outcomes.count("new")}


def has_header(flash: Path, image: bytes) -> bool:
    """True if slot B has the whole header of an image; it is written last, so the image is then whole."""
    return flash.read_bytes()[SLOT_B : SLOT_B + HEADER_BYTES] == image[:HEADER_BYTES]


def cuts_settings(bench: Bench) -> Figures:
    """40 cuts spread over every write of one save."""
    return _settings(bench, SAVE_CUTS)


def cuts_update(bench: Bench) -> Figures:
    """20 cuts spread over one update, half of them where the new image replaces the old one."""
    return _update(bench, UPDATE_CUTS)


def few_cuts(bench: Bench) -> Figures:
    """2 cuts in a save, 2 in an update."""
    return _both(bench, CUTS_PER_KIND)


def many_cuts(bench: Bench) -> Figures:
    """500 cuts, half of them in a save, half in an update."""
    return _both(bench, SOAK_CUTS, SOAK_EMULATORS)


def _both(bench: Bench, cuts: int, emulators: int = 1) -> Figures:
    found = {f"settings_{name}": value for name, value in _settings(bench, cuts, emulators).items()}
    return found | {f"update_{name}": value for name, value in _update(bench, cuts, emulators).items()}


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

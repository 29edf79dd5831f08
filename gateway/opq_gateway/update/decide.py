"""What comes next in an update of the gateway. Pure: no file, no clock, no process."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from opq_proto.release.plan import WHOLE_SHARE, Plan, is_turn, version_key

IDLE = "idle"
"""Step of the journal: nothing to update."""
READY = "ready"
"""Step of the journal: the other tree holds a version that was not started."""
TRYING = "trying"
"""Step of the journal: a version was started and has not proved itself."""
STEPS = (IDLE, READY, TRYING)
TREES = ("a", "b")
FIRST_S = 20.0
"""Time from the start of the gateway to its first look at the repository."""
LOOK_S = 3600.0
"""Interval of looks, more or less by a tenth, so that a fleet does not look at once."""
OPEN_LOOK_S = 50.0
"""The same interval while this gateway waits for its turn in a roll-out."""
TRIAL_S = 60.0
"""Within this time everything that worked before has to work again."""
STEADY_S = 3.0
"""Everything has to work for this long."""
MOST_STARTS = 3
"""Most starts of a trial that a power failure or an orderly end cut short."""


@dataclass(frozen=True, slots=True)
class Journal:
    """Where the update is.

    `ready`: `tree` is whole and on disk, to be tried at the next start. `trying`: it was started `starts`
    times, last under the system start `boot_id`.
    """

    step: str = IDLE
    tree: str = ""
    version: str = ""
    starts: int = 0
    boot_id: str = ""
    well: tuple[str, ...] = ()
    """Boxes that worked before."""
    acknowledged: tuple[str, ...] = ()
    """Boxes whose Measurements the cloud acknowledged before."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Version -> why its trial failed; it is not tried again."""


class Role(Enum):
    """The task of a process that starts."""

    SERVE = "serve"
    TRY = "start the other tree instead"
    ON_TRIAL = "serve, and judge itself"


def at_start(journal: Journal, own: str, linked: str, boot_id: str) -> tuple[Role, Journal]:
    """The role of a process, and the journal to be written before it acts.

    Args:
        own, linked: the trees that the process runs from and that the link names; "" for any other place.
    """
    if journal.step == TRYING and own == journal.tree:
        return (Role.SERVE, settled(journal)) if own == linked else (Role.ON_TRIAL, journal)
    if journal.step == IDLE or own != linked or journal.tree == linked:
        return Role.SERVE, journal
    if journal.step == TRYING and journal.boot_id == boot_id:
        return Role.SERVE, failed(journal, "the process ended during its trial")
    if journal.starts >= MOST_STARTS:
        return Role.SERVE, failed(journal, f"{journal.starts} starts ended without a verdict")
    return Role.TRY, replace(journal, step=TRYING, starts=journal.starts + 1, boot_id=boot_id)


def settled(journal: Journal) -> Journal:
    """The journal after a successful trial, when the link has moved."""
    return Journal(refused=journal.refused)


def failed(journal: Journal, reason: str) -> Journal:
    """The journal after a failed trial; the link has not moved."""
    return Journal(refused={**journal.refused, journal.version: reason})


def put_off(journal: Journal) -> Journal:
    """The journal after a trial that was stopped in order; it begins again at the next start."""
    return replace(journal, step=READY)


def other_tree(linked: str) -> str:
    """The tree that does not serve, and may be built again."""
    return TREES[1] if linked == TREES[0] else TREES[0]


def missing(journal: Journal, well: Collection[str], acknowledged: Collection[str]) -> str:
    """What worked before the update and does not work now; "" for nothing."""
    ill = [f"Box {each} has a problem" for each in journal.well if each not in well]
    ill += [f"Box {each} is not acknowledged" for each in journal.acknowledged if each not in acknowledged]
    return ", ".join(ill)


def is_open(plan: Plan, gateway: str, group: str) -> bool:
    """Whether a roll-out may reach this gateway, now or by a later step."""
    return is_turn(replace(plan, share=WHOLE_SHARE), gateway, group)


def refusal(plan: Plan, running: str, journal: Journal, gateway: str, group: str) -> str:
    """Why the plan's version is not installed now; "" where it is to be."""
    if version_key(plan.version) <= version_key(running):
        return "it runs" if plan.version == running else f"the running version {running} is newer"
    if plan.version in journal.refused:
        return f"its trial failed here: {journal.refused[plan.version]}"
    if plan.stopped:
        return f"the roll-out is stopped: {plan.stopped}"
    if plan.paused:
        return "the roll-out is paused"
    return "" if is_turn(plan, gateway, group) else "this gateway's turn has not come"

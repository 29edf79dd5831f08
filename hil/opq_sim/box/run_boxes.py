"""Which Boxes a run has: decided before anything starts, from the options of `up`, `sim` and `box`.

Recordings and the scenario are read here, so that their faults are reported at once and every process that
plans with the same options gets the same ids. What only recordings or a network need is imported for them:
it is half of a start.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opq_proto.errors import ConfigError
from opq_proto.kit import log
from opq_sim.box.box import Box
from opq_sim.box.source import SampleSource
from opq_sim.mains.grid import Grid
from opq_sim.mains.replay import Replay, replays
from opq_sim.mains.replayed_recording import ReplayedRecording, read_replay
from opq_sim.mains.scenario import (
    DEFAULT,
    EVERY_S,
    LEAD_S,
    MainsScenario,
    generators,
    grid_of,
    has_network,
    load_scenario,
    plain_generator,
    scenario_path,
)
from opq_sim.power_system.power_scenario import (
    PowerScenario,
    load_power_scenario,
    power_system_of,
    scenario_grid,
)
from opq_sim.power_system.power_source import power_sources, recorded_sources
from opq_sim.power_system.power_system import Refusal

SIMULATED = "opq-hil simulated"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The simulated and replayed Boxes of one run.

    The Boxes of `scenario_box_ids` and `plain_box_ids` are generated, those of `replayed` come from
    recordings.
    """

    replayed: "tuple[tuple[str, Path, ReplayedRecording], ...]"
    """(box id, file, recording)."""
    scenario: str | None
    scenario_config: "MainsScenario | PowerScenario | None"
    scenario_box_ids: tuple[str, ...]
    plain_box_ids: tuple[str, ...]
    every_s: float | None
    """Seconds from one play to the next; None: 60 s, or the scenario's own value."""
    lead_s: float | None
    """Steady seconds before the first play; None: 10 s, or the scenario's own value."""
    seed: int
    truth: Path | None = None
    """Folder for the truth of a network's run."""

    @property
    def _is_on_network(self) -> bool:
        return self.scenario_config is not None and not isinstance(self.scenario_config, MainsScenario)

    @property
    def box_ids(self) -> tuple[str, ...]:
        """All Box ids, recordings first."""
        return tuple(box_id for box_id, _, _ in self.replayed) + self.scenario_box_ids + self.plain_box_ids

    def arguments(self) -> list[str]:
        """Options with which `python -m opq_sim.box` hosts this fleet."""
        options: list[tuple[str, object]] = [("--replay", path.absolute()) for _, path, _ in self.replayed]
        options += [
            ("--scenario", self.scenario),
            ("--sim", len(self.plain_box_ids)),
            ("--replay-every-s", self.every_s),
            ("--lead-s", self.lead_s),
            ("--seed", self.seed),
            ("--truth", self.truth.absolute() if self.truth else None),
        ]
        return [word for name, value in options if value is not None for word in (name, str(value))]

    def announcement(self) -> str:
        """One line: what each Box does, and when the first disturbance comes."""
        parts = [f"Box {box_id} replays {path.name}" for box_id, path, _ in self.replayed]
        if self.scenario_config is not None and self.scenario_box_ids:
            title = self.scenario_config.title or Path(str(self.scenario)).name
            parts.append(f"{_boxes(self.scenario_box_ids)}: {title}")
        if self.plain_box_ids:
            parts.append(f"{_boxes(self.plain_box_ids)}: simulated, undisturbed")
        first_s, every_s = self._first_disturbance_s()
        if first_s is not None:
            what = "disturbance" if self._is_on_network else "dip"
            again = f", then every {every_s:.10g} s" if every_s else ""
            parts.append(f"the first {what} comes {first_s:.0f} s after the Boxes start{again}")
        return "; ".join(parts)

    def boxes(self) -> list[Box]:
        """Returns the Boxes, not yet online.

        Raises:
            RecordingError: a recording has no steady cycles to repeat.
        """
        sources: dict[str, tuple[str, SampleSource]] = {}
        for (box_id, path, _), source in zip(self.replayed, self._replays(), strict=True):
            sources[box_id] = (f"replay of {path.name}", source)
        for box_id, made in self._scenario_sources().items():
            if box_id in self.scenario_box_ids:
                sources[box_id] = (SIMULATED, made)
        volts, hz = self._nominal()
        grid = Grid(hz, wander_hz=0.01, wander_s=47.0)
        if isinstance(self.scenario_config, MainsScenario):
            grid = grid_of(self.scenario_config)
        elif self.scenario_config is not None:
            grid = scenario_grid(self.scenario_config)
        for box_id in self.plain_box_ids:
            sources[box_id] = (SIMULATED, plain_generator(box_id, grid, volts, hz, self.seed))
        return [
            Box(box_id, source, hardware=hardware[:255], boot_id=1 + secrets.randbelow(0xFFFF_FFFF))
            for box_id, (hardware, source) in sources.items()
        ]

    def _nominal(self) -> tuple[float, float]:
        """Volts and hertz of the plain Boxes: from the scenario, else from the first recording."""
        if self.scenario_config is not None:
            return self.scenario_config.nominal_v, self.scenario_config.nominal_hz
        for _, _, recording in self.replayed:
            return recording.nominal_v, recording.nominal_hz
        return 120.0, 60.0

    def _scenario_sources(self) -> dict[str, SampleSource]:
        """The sample sources of the scenario's Boxes, by Box id."""
        if self.scenario_config is None:
            return {}
        if isinstance(self.scenario_config, MainsScenario):
            return dict(generators(self.scenario_config, self.seed))

        system = power_system_of(self.scenario_config, self.seed)
        system.on_refusal = _log_refusal
        played = recorded_sources(self.scenario_config, self.every_s or EVERY_S, self.lead_s or LEAD_S)
        return {**power_sources(self.scenario_config, system, self.seed), **played}

    def _first_disturbance_s(self) -> tuple[float | None, float]:
        """Seconds from the start to the first disturbance, None if none comes; then the seconds between
        disturbances, 0 if their times are not fixed.
        """
        every_s = self.every_s or EVERY_S
        known = [source.first_disturbance_s for source in self._replays()]
        if isinstance(self.scenario_config, MainsScenario):
            if any(box.event for box in self.scenario_config.box):
                known.append(self.scenario_config.lead_s)
                differs = self.replayed and self.scenario_config.every_s != every_s
                every_s = 0.0 if differs else self.scenario_config.every_s
        elif self.scenario_config is not None:
            known += [each.at_s for each in self.scenario_config.cause]
            every_s = every_s if self.replayed else 0.0
        return min((at for at in known if at is not None), default=None), every_s

    def _replays(self) -> "tuple[Replay, ...]":
        if not self.replayed:
            return ()

        recordings = [recording for _, _, recording in self.replayed]
        return replays(recordings, self.every_s or EVERY_S, self.lead_s or LEAD_S)


def plan_fleet(
    replays: Sequence[Path] = (),
    scenario: str | Path | None = None,
    sim: int | None = None,
    replay_every_s: float | None = None,
    lead_s: float | None = None,
    seed: int = 1,
    truth: Path | None = None,
) -> Fleet:
    """Decides the Boxes; without recording, scenario and number: the default scenario and one plain Box.

    A recording's Box id is the one in its .json, else the smallest free number. The `sim` plain Boxes get the
    smallest free numbers too.

    Raises:
        RecordingError, ConfigError: a recording or the scenario cannot be used, or ids collide.
    """
    if not replays and scenario is None and not sim:
        scenario, sim = DEFAULT, 1
    recordings = _read_replays(replays)
    named = [recording.box_id for recording in recordings if recording.box_id]
    scenario_config = _read_scenario(scenario, replay_every_s, lead_s) if scenario else None
    named += [box.id for box in scenario_config.box] if scenario_config else []
    twice = sorted({box_id for box_id in named if named.count(box_id) > 1}, key=int)
    if twice:
        raise ConfigError(f"{_boxes(twice)}: given twice, by recordings or scenario; give each once")
    free = iter(_free_ids(named, len(recordings) + (sim or 0)))
    replayed = tuple(
        (recording.box_id or next(free), Path(path), recording)
        for path, recording in zip(replays, recordings, strict=True)
    )
    fleet = Fleet(
        replayed=replayed,
        scenario=str(scenario) if scenario else None,
        scenario_config=scenario_config,
        scenario_box_ids=tuple(box.id for box in scenario_config.box) if scenario_config else (),
        plain_box_ids=tuple(next(free) for _ in range(sim or 0)),
        every_s=replay_every_s,
        lead_s=lead_s,
        seed=seed,
        truth=truth,
    )
    if truth is not None and not fleet._is_on_network:
        raise ConfigError("--truth: only a scenario with a network has a truth; try --scenario village")
    fleet.boxes()  # reports now what cannot be played
    return fleet


def _read_replays(paths: Sequence[Path]) -> "list[ReplayedRecording]":
    if not paths:
        return []

    return [read_replay(path) for path in paths]


def _read_scenario(
    scenario: str | Path, every_s: float | None, lead_s: float | None
) -> "MainsScenario | PowerScenario":
    path = scenario_path(scenario)
    if has_network(path):
        return load_power_scenario(path)
    return load_scenario(path, {"every_s": every_s, "lead_s": lead_s})


def _log_refusal(refusal: "Refusal") -> None:
    """Logs a cause that its network could no longer accept when its time came."""
    cause = refusal.cause
    log.get(service="boxes").warning("cause.refused", cause=cause.name, at=cause.at, reason=refusal.reason)


def _free_ids(taken: Sequence[str], count: int) -> list[str]:
    """The smallest `count` Box ids that are not taken."""
    return [str(n) for n in range(1, len(taken) + count + 1) if str(n) not in taken][:count]


def _boxes(ids: Sequence[str]) -> str:
    return f"Box {ids[0]}" if len(ids) == 1 else f"Boxes {', '.join(ids)}"

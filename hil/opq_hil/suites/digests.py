"""Eight short worlds whose runs give the same result on every emulator, and the file with that result.

`opq-tools hil digests --keep FILE` writes it; `--against FILE` compares a run with it. `run_digest` makes
its content.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from opq_hil.backends.backend import FirmwareRun
from opq_hil.backends.firmware import Firmware
from opq_hil.gps.oscillator import Oscillator
from opq_hil.gps.receiver import START_UTC_S, Gps
from opq_hil.suites import ticks
from opq_hil.suites.cuts import OBSERVED_NS, operations
from opq_hil.suites.run_digest import LEFT_OUT, Digest, DigestScope, differences, digest_of
from opq_hil.suites.scenario import Bench, Figures, FirmwareScenario, require
from opq_hil.suites.timekeeping import MIDNIGHT_S
from opq_hil.suites.updates import BOOT_NS, ScriptedMessages, confirmed, update_script
from opq_hil.world.world import NS_PER_S, BitNoise, Played, PowerScript, World, temperature_readings
from opq_proto.errors import ConfigError
from opq_proto.firmware.image import Slot, read_header
from opq_proto.link.messages import Command, Operation, Settings
from opq_sim.mains import mains

BOARD = "opqbox"
"""Board whose firmware the digests are of."""
FORMAT = 1
GPS = Gps(utc_start_ns=START_UTC_S * NS_PER_S + 300_000_000)
STAMPS_FROM_S = 23
"""Locked after 21.1 s; the next full second is left out."""
WHOLE_RUN = DigestScope()


@dataclass(frozen=True, slots=True)
class DigestWorld:
    """One of the worlds. `play` returns the run to judge, and its digest."""

    name: str
    line: str
    play: Callable[[Bench], tuple[FirmwareRun, Digest]]
    scope: DigestScope = WHOLE_RUN
    virtual_s: int = 12


def _run(bench: Bench, world: World, flash: Path | None = None) -> tuple[FirmwareRun, Digest]:
    flash = flash or bench.prepared(BOARD, oversampling="1", gps=world.gps.setting if world.gps else "none")
    return bench.run(
        replace(world, mains=world.mains if isinstance(world.mains, Played) else ticks.saw()),
        BOARD,
        flash=flash,
    ), {}


def steady(bench: Bench) -> tuple[FirmwareRun, Digest]:
    """Harmonics and noise, played at the Box's own rate, so that each sample is one value of it."""
    volts, _ = mains(
        12, frequency_hz=59.97, harmonics={3: 4.0, 5: 3.0, 7: 2.0, 11: 1.0}, noise_db=60, seed=15
    )
    counts = np.round(volts * 100).astype(np.int16)
    return _run(bench, World(10 * NS_PER_S, Played(counts), gps=None))


def drift(bench: Bench) -> tuple[FirmwareRun, Digest]:
    """An oscillator that is 20 ppm fast and warms by 4 K."""
    oscillator = Oscillator(20_000, 100, ((0.0, 25.0), (10.0, 25.0), (34.0, 29.0)))
    end_ns = 34 * NS_PER_S
    power = PowerScript(adc=temperature_readings(oscillator, end_ns))
    return _run(bench, World(end_ns, gps=GPS, oscillator=oscillator, power=power))


def outage(bench: Bench) -> tuple[FirmwareRun, Digest]:
    """No sky from 26 s to 31 s."""
    return _run(bench, World(36 * NS_PER_S, gps=replace(GPS, outages=((26.0, 31.0),))))


def _leap_second(bench: Bench) -> tuple[FirmwareRun, Digest]:
    """23:59:60 after 26.7 s."""
    start_ns = (MIDNIGHT_S - 27) * NS_PER_S + 300_000_000
    return _run(bench, World(32 * NS_PER_S, gps=Gps(start_ns, leap_after_utc_s=MIDNIGHT_S)))


def update(bench: Bench) -> tuple[FirmwareRun, Digest]:
    """The build's own image is written to the other slot and tried, which needs no key."""
    image = bench.firmware(BOARD).images()[Slot.B]
    script = update_script(image, BOOT_NS, 10)
    return _run(
        bench, World(script.end_ns + 5 * NS_PER_S // 2, gps=None, messages=script.messages), confirmed(bench)
    )


def cut_in_a_save(bench: Bench) -> tuple[FirmwareRun, Digest]:
    """Power fails in the fifth flash operation of a save; the next start is judged."""
    flash = confirmed(bench)
    save: ScriptedMessages = ((BOOT_NS, Command(8, Operation.PUT_SETTING, "nominal_hz=50")),)
    idle = bench.run(World(OBSERVED_NS, gps=None), BOARD, name="idle", flash=flash)
    cut_at = operations(idle) + 5
    world = World(OBSERVED_NS, gps=None, messages=save, power=PowerScript(cut_after=cut_at), seed=15)
    torn = bench.run(world, BOARD, name="cut", flash=flash)
    require(torn.ended == "cut" and torn.flash is not None, f"the cut did not happen: {torn.ended}")
    ask: ScriptedMessages = ((BOOT_NS, Command(9, Operation.GET_SETTINGS)),)
    run, _ = _run(bench, World(2 * OBSERVED_NS, gps=None, messages=ask), torn.flash)
    found = run.capture.of(Settings)
    return run, {"cut_at_operation": cut_at, "settings": dict(found[-1].values) if found else {}}


def line_noise(bench: Bench) -> tuple[FirmwareRun, Digest]:
    """One byte in a thousand from the gateway has a flipped bit: which commands are answered, and how."""
    messages: ScriptedMessages = tuple(
        (3 * NS_PER_S + number * NS_PER_S // 10, Command(100 + number, Operation.PUT_SETTING, "x" * 200))
        for number in range(60)
    )
    run, _ = _run(bench, World(10 * NS_PER_S, gps=None, messages=messages, noise=(BitNoise(1e-3, True, 15),)))
    return run, {}


def _brown_out(bench: Bench) -> tuple[FirmwareRun, Digest]:
    """The supply sinks below the detector's threshold for 100 ms: sampling ends and begins again."""
    power = PowerScript(pvd=((5 * NS_PER_S, True), (5 * NS_PER_S + NS_PER_S // 10, False)))
    return _run(bench, World(10 * NS_PER_S, gps=None, power=power))


WORLDS: Mapping[str, DigestWorld] = {
    world.name: world
    for world in (
        DigestWorld("steady", "harmonics and noise", steady),
        DigestWorld(
            "drift", "20 ppm fast, 4 K", drift, DigestScope(stamps_s=tuple(range(STAMPS_FROM_S, 33))), 34
        ),
        DigestWorld(
            "outage", "5 s without sky", outage, DigestScope(stamps_s=tuple(range(STAMPS_FROM_S, 35))), 36
        ),
        DigestWorld(
            "leap_second", "23:59:60", _leap_second, DigestScope(stamps_s=(23, 24, 25, 28, 29, 30)), 31
        ),
        DigestWorld(
            "update",
            "an image for the other slot, started",
            update,
            DigestScope(((2_400, 108_000), (2_400, 12_000))),
            32,
        ),
        DigestWorld(
            "cut", "power gone in a save", cut_in_a_save, DigestScope(((2_400, 36_000),), flash=False), 24
        ),
        DigestWorld("line_noise", "the gateway's bytes damaged", line_noise),
        DigestWorld(
            "brown_out",
            "the supply sinks for 100 ms",
            _brown_out,
            DigestScope(((2_400, 48_000), (2_400, 48_000))),
        ),
    )
}


def scenarios(
    names: Sequence[str], stored: Mapping[str, Digest] | None, found: dict[str, Digest]
) -> tuple[FirmwareScenario, ...]:
    """The worlds as scenarios (all without names): each puts its digest into `found` and compares it with the
    saved one.

    Raises:
        ConfigError: no such world, or the file has none of that name.
    """
    known = WORLDS if stored is None else {name: WORLDS[name] for name in WORLDS if name in stored}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"world {', '.join(unknown)}: no digest; there are {', '.join(known)}")
    return tuple(_scenario(known[name], stored, found) for name in names or known)


def _scenario(
    world: DigestWorld, stored: Mapping[str, Digest] | None, found: dict[str, Digest]
) -> FirmwareScenario:
    def play(bench: Bench) -> Figures:
        run, more = world.play(bench)
        digest = {**digest_of(run, world.scope, bench.firmware(BOARD)), **more}
        found[world.name] = digest = json.loads(json.dumps(digest))
        wrong = differences(stored[world.name], digest) if stored is not None else []
        require(not wrong, f"{'; '.join(wrong)}; see {run.folder}")
        return {"samples": sum(part["count"] for part in digest["samples"]), "log_lines": len(digest["log"])}

    return FirmwareScenario(world.name, world.line, play, virtual_s=world.virtual_s)


def firmware_identity(firmware: Firmware) -> Digest:
    """Identifies the build: the SHA-256 of slot A's image without its signature, the same on each machine."""
    header = read_header(firmware.images()[Slot.A])
    return {"board": firmware.image.board.name, "version": header.label, "image_sha256": header.sha256.hex()}


def digest_document(found: Mapping[str, Digest], backend: str, firmware: Firmware) -> Digest:
    """The file's content; nothing in it depends on when or where it is made."""
    return {
        "format": FORMAT,
        "backend": backend,
        "firmware": firmware_identity(firmware),
        "left_out": list(LEFT_OUT),
        "worlds": {name: found[name] for name in WORLDS if name in found},
    }


def digest_text(content: Digest) -> str:
    """The file's text, with one line per result, so that a changed result is one line of a diff."""
    head = {name: value for name, value in content.items() if name != "worlds"}
    worlds = []
    for name, digest in content["worlds"].items():
        lines = (f"   {json.dumps(what)}: {json.dumps(value)}" for what, value in digest.items())
        worlds.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    top = json.dumps(head, indent=1).removesuffix("\n}")
    return top + ',\n "worlds": {\n' + ",\n".join(worlds) + "\n }\n}\n"


def read_digests(path: Path) -> Digest:
    """Reads a file that `digest_document` made.

    Raises:
        ConfigError: it cannot be read, or is of another format.
    """
    try:
        found: Digest = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] == FORMAT and isinstance(found["worlds"], dict):
            return found
        raise ConfigError(f"{path}: format {found['format']}; this program reads format {FORMAT}")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path}: no digests; make them with `hil digests --keep FILE`") from None

"""Reads a recording of any form (`forms.py`): chooses its channel, adds the facts beside it and the user's.

Flags override the .json beside a file, and the .json overrides the file itself. Every fault of a file is a
RecordingError of one line.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from opq_proto.errors import RecordingError
from opq_proto.time_units import DAY_NS, NS_PER_S
from opq_proto.visible_text import visible
from opq_recordings.facts import RecordingFacts, facts_of, read_facts
from opq_recordings.forms import content_of
from opq_recordings.packed import MOST_BYTES
from opq_recordings.quantity_names import quantity_named, volt_amperes
from opq_recordings.recording import PIECE_SAMPLES, Channel, Content, Recording, Run
from opq_recordings.units import is_share, known_units, measured_in, unit_scale
from opq_recordings.written_times import shown as shown_time

ASSUMED = {"time_zone": "UTC", "time_unit": "s"}
FROM_1904_S = 2_082_844_800
"""From 1904 to 1970."""
CLOCK_SET_1904_NS = 946_684_800 * NS_PER_S
"""2000; a reading before it is not likely."""
CLOCK_SET_NS = 1_704_067_200 * NS_PER_S
"""2024; a machine whose clock shows less was never set."""
MIN_RATE_HZ = 64.0
"""Four samples per cycle of a railway's 16.7 Hz."""
MAX_RATE_HZ = 1e7
"""More than any mains recorder, because windows of 0.2 s are held in memory."""


def read_recording(
    path: Path, given: RecordingFacts | None = None, unpacked_bytes: int = MOST_BYTES
) -> Recording:
    """Reads a recording.

    Args:
        given: facts that override those of the file and of the .json beside it; the channel to take.
        unpacked_bytes: the most that a zip may unpack to.
    Raises:
        RecordingError: missing, broken, of an unknown format, no such channel, or its rate or gain is not
            known; names the option that helps.
    """
    given = given or RecordingFacts()
    return _recording(path, *_read(path, given, unpacked_bytes))


def _read(
    path: Path, given: RecordingFacts, unpacked_bytes: int
) -> tuple[Content, RecordingFacts, RecordingFacts, dict[str, object]]:
    """The content of a file, the given facts and those beside it, and the whole .json."""
    try:
        if not path.is_file():
            raise RecordingError(f"{path}: {'is not a file' if path.exists() else 'there is no such file'}")
        if not path.stat().st_size:
            raise RecordingError(f"{path}: is empty, no samples in it")
        beside, stated = (
            read_facts(path.with_suffix(".json"))
            if path.suffix.lower() not in (".json", ".jsonl")
            else (RecordingFacts(), {})
        )
        content = content_of(path, given.before(beside), unpacked_bytes)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise RecordingError(f"{path}: states more samples than this machine's memory holds") from error
    return content, given, beside, stated


def recordings_in(
    path: Path, given: RecordingFacts, unpacked_bytes: int = MOST_BYTES
) -> list[Recording | RecordingError]:
    """All recordings of a file, such as the observations of PQDIF; the one of the channel that is given.

    Of several recordings, an unreadable one is replaced by its error.

    Raises:
        RecordingError: as `read_recording`; or one start is given for several.
    """
    content, given, beside, stated = _read(path, given, unpacked_bytes)
    channels = _told_apart(content.channels)
    names = []
    if given.channel is None:
        first = _chosen(path, channels, None, [])
        names = [first.name, *_other_recordings(channels, first)]
    faults = () if given.channel is not None else content.broken
    if len(names) < 2:
        whole = _recording(path, content, given, beside, stated)
        return [whole, *(RecordingError(f"{path}, {each}") for each in faults)]
    if given.start_ns is not None or beside.start_ns is not None:
        raise RecordingError(
            f"{path}: holds {len(names)} recordings, and one start is given; choose with --channel"
        )
    found: list[Recording | RecordingError] = []
    for name in names:
        try:
            found.append(_recording(path, content, replace(given, channel=name), beside, stated))
        except RecordingError as error:
            found.append(error)
    return [*found, *(RecordingError(f"{path}, {each}") for each in faults)]


def with_channel(recording: Recording, name: str, given: RecordingFacts) -> Recording:
    """Another channel of the file that a recording was read from, with the same facts beside it.

    Raises:
        RecordingError: as `read_recording`.
    """
    content = recording.content or Content(recording.form, recording.channels)
    facts = facts_of(recording.path.with_suffix(".json"), recording.facts)
    return _recording(recording.path, content, replace(given, channel=name), facts, recording.facts)


def _recording(
    path: Path, content: Content, given: RecordingFacts, beside: RecordingFacts, stated: dict[str, object]
) -> Recording:
    content = replace(content, channels=_told_apart(content.channels))
    assumed, problems = list(content.assumed), list(content.problems)
    channel = _chosen(path, content.channels, given.channel, assumed)
    own = RecordingFacts(
        channel.rate_hz, None, channel.nominal_v, channel.nominal_hz, channel.box_id, channel.start_ns
    )
    facts = given.before(beside).before(own)
    channel, trimmed_s = _trimmed(channel, facts.rate_hz, problems)
    missing = path.with_suffix(".json").name
    if channel.samples == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    if facts.rate_hz is None:
        raise RecordingError(f"{path}: its rate is not known; put rate_hz into {missing} or give --rate-hz")
    if not MIN_RATE_HZ <= facts.rate_hz <= MAX_RATE_HZ:
        raise RecordingError(
            f"{path}: its rate is {facts.rate_hz:.6g} Hz, want {MIN_RATE_HZ:g} to {MAX_RATE_HZ:,.0f} Hz "
            "for a waveform; if the unit of its times is not the stated or assumed one, give --rate-hz"
        )
    channel = _on_side(path, _measured_in(path, channel, facts, assumed), facts.side)
    _check_finite(path, channel)
    if given.rate_hz and channel.rate_hz and abs(given.rate_hz / channel.rate_hz - 1) > 0.001:
        problems.append(
            f"its own rate is {channel.rate_hz:.6g} Hz; {given.rate_hz:.6g} Hz was given and taken"
        )
    start_ns = _past_start(facts, given, problems)
    others = () if given.channel is not None else _other_recordings(content.channels, channel)
    if others:
        problems.append(
            f"it holds {1 + len(others)} recordings of different times or files; of these {channel.name} was "
            f"taken and {_listed(others)} left out; choose with --channel"
        )
    if given.start_ns is not None or beside.start_ns is not None or start_ns is None:
        assumed = [each for each in assumed if each != "time_zone"]
    return Recording(
        path=path,
        form=content.form,
        channel=channel,
        channels=content.channels,
        rate_hz=facts.rate_hz,
        start_ns=None if start_ns is None else start_ns + round(trimmed_s * 1e9),
        nominal_v=facts.nominal_v,
        nominal_hz=facts.nominal_hz,
        hz_of_file=given.nominal_hz is None and beside.nominal_hz is None,
        volts_of_file=given.nominal_v is None and beside.nominal_v is None,
        box_id=facts.box_id,
        assumed={
            name: value or _value_of(name, content, channel, facts)
            for name, _, value in (each.partition("=") for each in dict.fromkeys(assumed))
        },
        problems=tuple(problems),
        facts=stated,
        others=others,
        content=content,
    )


def _other_recordings(channels: Sequence[Channel], chosen: Channel) -> tuple[str, ...]:
    """The first channel of the chosen one's quantity of each further recording among these channels.

    Channels whose times overlap are beside each other, also as files of an archive. Without a start, those of
    one file are.
    """
    taken, found = [chosen], []
    for each in channels:
        if each.quantity == chosen.quantity and each.samples and not any(_beside(each, one) for one in taken):
            taken.append(each)
            found.append(each.name)
    return tuple(found)


def _beside(one: Channel, other: Channel) -> bool:
    """Whether two channels are of one recording."""
    if one.start_ns is None or other.start_ns is None or not one.rate_hz or not other.rate_hz:
        return one.member == other.member and one.start_ns == other.start_ns
    one_ends_ns = one.start_ns + one.samples / one.rate_hz * NS_PER_S
    other_ends_ns = other.start_ns + other.samples / other.rate_hz * NS_PER_S
    return one.start_ns < other_ends_ns and other.start_ns < one_ends_ns


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _past_start(facts: RecordingFacts, given: RecordingFacts, problems: list[str]) -> int | None:
    """The start, if it can be: one that lies more than a day ahead of this machine's clock is not known.

    A start that the user gives stays. A machine whose clock was never set cannot judge.
    """
    start_ns, now_ns = facts.start_ns, time.time_ns()
    if start_ns is None or start_ns <= now_ns + DAY_NS or now_ns < CLOCK_SET_NS:
        return start_ns
    said = f"its start, {shown_time(start_ns)}, lies in the future"
    if given.start_ns is not None:
        problems.append(said)
        return start_ns
    since_1904_ns = start_ns - FROM_1904_S * NS_PER_S
    if CLOCK_SET_1904_NS < since_1904_ns <= now_ns + DAY_NS:
        said += f" (it would be {shown_time(since_1904_ns)} if its times count seconds since 1904)"
    problems.append(f"{said}, so it is not known; give --start")
    return None


def _told_apart(channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """The channels, numbered where they share a name, as those of several observations of PQDIF do."""
    channels = [replace(each, name=visible(each.name)) for each in channels]
    total = Counter(each.name for each in channels)
    so_far: Counter[str] = Counter()
    named = []
    for each in channels:
        so_far[each.name] += 1
        of = total[each.name]
        named.append(each if of == 1 else replace(each, name=f"{each.name} ({so_far[each.name]} of {of})"))
    return _with_volt_amperes(named)


def _with_volt_amperes(channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """The channels with the quantity of one that is named `VA`, `V.A` or `V A` and states no unit."""
    names = [each.name for each in channels]
    voltages = [each.name for each in channels if each.quantity == "voltage"]
    return tuple(
        replace(each, quantity=volt_amperes(each.name, voltages, names) or each.quantity)
        if each.unit is None and each.quantity in (None, "voltage")
        else each
        for each in channels
    )


def _value_of(name: str, content: Content, channel: Channel, facts: RecordingFacts) -> object:
    """The value that was assumed for a fact that the file does not state; some assumptions include it."""
    taken = {
        "channel": channel.name,
        "unit": channel.unit,
        "rate_hz": facts.rate_hz,
        "encoding": content.code_page,
    }
    return taken[name] if name in taken else ASSUMED[name]


def _check_finite(path: Path, channel: Channel) -> None:
    """Refuses infinity, which no instrument measures. Raises RecordingError that names the first."""
    if channel.values.dtype.kind != "f":
        return
    for run in channel.runs:
        for at in range(0, run.samples, PIECE_SAMPLES):
            part = channel.values[run.row + at : run.row + min(at + PIECE_SAMPLES, run.samples)]
            channel.release()
            if np.isinf(part).any():
                sample = run.first_sample + at + int(np.argmax(np.isinf(part)))
                raise RecordingError(
                    f"{path}: sample {sample} of {channel.name!r} is infinite, want a finite number"
                )


def _chosen(path: Path, channels: tuple[Channel, ...], wanted: str | None, assumed: list[str]) -> Channel:
    """The channel by name or number; without one, the first voltage, or the only one that may be one."""
    names = ", ".join(f"{each.name} ({each.unit or 'no unit'})" for each in channels[:20]) or "none"
    if wanted is not None:
        named = [each for each in channels if each.name == wanted] or [
            each for each in channels if each.name.lower() == wanted.lower()
        ]
        if named:
            return named[0]
        if wanted.isdecimal() and 1 <= int(wanted) <= len(channels):
            return channels[int(wanted) - 1]
        raise RecordingError(f"{path}: has no channel {wanted!r:.40}; it has {names}")
    voltages = [each for each in channels if each.quantity == "voltage"]
    unknown = [each for each in channels if each.quantity is None]
    if voltages:
        if len(voltages) > 1:
            assumed.append("channel")
        return voltages[0]
    if len(unknown) == 1:
        return unknown[0]
    if not unknown:
        if shares := [each for each in channels if _may_be_share(each)]:
            raise RecordingError(f"{path}: {_of_share(shares[0])}")
        raise RecordingError(
            f"{path}: none of its {len(channels)} channels is a voltage: {names}; name one with "
            "--channel and say what it is, such as --unit V"
        )
    raise RecordingError(
        f"{path}: which of its {len(unknown)} channels without a unit is the voltage is not stated; give "
        f"--channel: {', '.join(each.name for each in unknown[:20])}"
    )


def _may_be_share(channel: Channel) -> bool:
    """Whether a channel is in per unit and its name does not say that it is a current or the like."""
    return is_share(channel.unit) and quantity_named(channel.name) in (None, "voltage")


def _of_share(channel: Channel) -> str:
    return (
        f"channel {channel.name!r} is in {channel.unit}, shares of a voltage that is not stated; to read "
        f"them as they are, give --channel {channel.name!r} --unit V and --nominal-volts, 1 where 1 is the "
        "rms, 0.7071 where it is the peak"
    )


def _measured_in(path: Path, channel: Channel, facts: RecordingFacts, assumed: list[str]) -> Channel:
    """The channel in volts: by its own unit, the unit that the user states, or its gain.

    Raises:
        RecordingError: another quantity, or counts whose gain is not known.
    """
    missing = path.with_suffix(".json").name
    if facts.unit is not None:
        found = unit_scale(facts.unit)
        if found is None or found[0] != "voltage":
            raise RecordingError(f"--unit is {facts.unit!r:.40}, want {known_units()}")
        factor = found.scale / (measured_in(channel.unit)[2] or 1.0)
        channel = replace(
            channel,
            scale=None if channel.scale is None else channel.scale * factor,
            offset=channel.offset * factor,
            unit=facts.unit,
            quantity="voltage",
        )
    if channel.scale is None or facts.volts_per_lsb is not None:
        counts = channel.scale is None or channel.values.dtype.kind in "iu"
        if channel.scale is None and facts.volts_per_lsb is None:
            raise RecordingError(
                f"{path}: the gain of its counts is not known; put volts_per_lsb into {missing} or give "
                "--volts-per-lsb"
            )
        if counts and facts.volts_per_lsb is not None:
            old = channel.scale or 1.0
            gain = facts.volts_per_lsb
            return replace(
                channel, scale=gain, offset=channel.offset * gain / old, unit="V", quantity="voltage"
            )
    if channel.unit is None and channel.quantity is None:
        if path.suffix.lower() in (".cfg", ".dat", ".cff"):
            raise RecordingError(
                f"{path}: channel {channel.name!r} states no unit; say what its values are, such as --unit V"
            )
        assumed.append("unit")
        return replace(channel, unit="V", quantity="voltage")
    if channel.unit is None and channel.quantity == "voltage":
        if channel.box_id is None:
            assumed.append("unit")
        return replace(channel, unit="V")
    if channel.quantity != "voltage" and _may_be_share(channel):
        raise RecordingError(f"{path}: {_of_share(channel)}")
    if channel.quantity != "voltage":
        raise RecordingError(
            f"{path}: channel {channel.name!r} is in {channel.unit!r:.40}, want {known_units()}; if it is a "
            "voltage, say so, such as --unit V"
        )
    return channel


def _on_side(path: Path, channel: Channel, side: str | None) -> Channel:
    """The channel on that side of its transformer. Raises RecordingError where its ratio is not stated."""
    if side is None:
        return channel
    if channel.ratio is None:
        raise RecordingError(
            f"{path}: channel {channel.name!r} states no ratio of a transformer; leave out --side"
        )
    ratio, recorded = channel.ratio
    if recorded == side[0].upper():
        return channel
    factor = ratio if side == "primary" else 1 / ratio
    return replace(
        channel,
        scale=(channel.scale or 1.0) * factor,
        offset=channel.offset * factor,
        ratio=(ratio, side[0].upper()),
    )


def _trimmed(channel: Channel, rate_hz: float | None, problems: list[str]) -> tuple[Channel, float]:
    """The channel from its first sample to its last; the seconds left out before it."""
    if not channel.runs:
        return replace(channel, samples=0), 0.0
    first = channel.runs[0].first_sample
    end = channel.runs[-1].first_sample + channel.runs[-1].samples
    if first or end < channel.samples:
        problems.append(f"its first {first} and last {max(0, channel.samples - end)} samples are missing")
    runs = tuple(Run(run.first_sample - first, run.row, run.samples) for run in channel.runs)
    return replace(channel, runs=runs, samples=end - first), first / rate_hz if rate_hz else 0.0

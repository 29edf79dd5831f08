"""The probability that a silent Box lost its supply, and not only its network, with the evidence. Pure.

A silence that is over is judged by what the gateway reports with the first Measurement after it: whether
samples are missing, and why (`measurement.continuity`). One that lasts is judged by what came before it, by
the last report of its battery and of its gateway's supply, and by the Boxes around it. Without a sign of a
lost supply there is no outage, because a paused gateway, a cable, a network and a busy machine also cause
silences. Such a sign is the gateway's report, the Box's own voltage or its report of its supply just before,
or Boxes of several gateways at several places that fall silent together.

The weights are ours: logarithms of how much likelier a sign makes a lost supply.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from opq_proto.decision import window_ns
from opq_proto.measurement.continuity import GapReason
from opq_proto.measurement.supply_word import SupplyWord
from opq_proto.messages import CauseEvidence, Measurement

SUPPLY_PRIOR = -1.0
"""Networks of Boxes fail more often than their supply."""
TOGETHER_S = 1.5
"""Boxes that fall silent within this time have one reason, because a Measurement covers one second."""
LONG_S = 60.0
"""A gateway that restarts is back within this time."""
DEAD_PERCENT = 10.0
"""A neighbour below this share of nominal had no supply."""
DIP_PERCENT = 90.0
"""A neighbour below this share of nominal saw a dip."""
MAX_TOGETHER = 3
MEASURED_SHARE = 0.5
"""Share of a silence: a Box that measured for longer had its supply."""
LOST_WORDS = {
    GapReason.OVERRUN: "were lost in the Box",
    GapReason.LINE: "were lost between the Box and its gateway",
    GapReason.GATEWAY: "were lost in its gateway, which paused or was not running",
    GapReason.RESTART: "were not taken while it restarted with its supply",
}
RESTART_WORDS = {
    "software": "by a command, for new firmware, or by itself",
    "pin": "by its reset pin",
    "watchdog": "by its watchdog",
}


@dataclass(frozen=True, slots=True)
class NeighbourSight:
    """What a Box of the same feeder, or else of the same place, shows at that moment."""

    box_id: str
    silent: bool
    """It fell silent within `TOGETHER_S`."""
    lowest_percent: float | None
    """Its lowest rms within two seconds of the moment, in percent of nominal; None: no stored values."""


@dataclass(frozen=True, slots=True)
class SilenceSigns:
    """Everything known about one silence."""

    silent_s: float
    over: bool
    """The Box sends again."""
    measured_s: float | None
    """Part of the silence for which its numbers increased; None: it has no numbers, or is still silent."""
    dark_s: float | None
    """For how long its gateway reports that it had no supply; None: it does not."""
    last_percent: float | None
    """Its lowest rms of the last two seconds before, in percent of nominal."""
    neighbours: Sequence[NeighbourSight]
    others_report: int
    """Number of Boxes that are not neighbours and sent Measurements after it began."""
    lost: tuple[tuple[GapReason, float], ...] = ()
    """Seconds of samples that are missing for other reasons."""
    gateways: int = 0
    """Gateways, each at another place, whose Boxes fell silent with it; 0 where its own is not known."""
    restart: str = ""
    """Why the Box restarted at the end of the silence while its supply was there; empty: not known."""
    supply: SupplyWord | None = None
    """The last report of its supply and of its gateway's."""
    silent: bool = True
    """False: it reports while on battery, and `silent_s` counts from the loss of supply."""


@dataclass(frozen=True, slots=True)
class SilenceJudgement:
    """The probability that the supply was lost, and why; the strongest evidence first."""

    probability: float
    evidence: tuple[CauseEvidence, ...]

    @property
    def because(self) -> str:
        """One sentence with the evidence for a lost supply."""
        return "; ".join(each.words for each in self.evidence if each.weight > 0)

    @property
    def against(self) -> str:
        """One sentence with the evidence for a lost network, or a Box that stopped."""
        return "; ".join(each.words for each in self.evidence if each.weight < 0)


def judge_silence(signs: SilenceSigns) -> SilenceJudgement:
    """Weighs all signs of a silence."""
    evidence = [each for each in (*_own_signs(signs), *_signs_around(signs)) if each is not None]
    weight = SUPPLY_PRIOR + sum(each.weight for each in evidence)
    evidence.sort(key=lambda each: (-abs(each.weight), each.name))
    return SilenceJudgement(round(1 / (1 + math.exp(-weight)), 3), tuple(evidence))


def _own_signs(signs: SilenceSigns) -> Sequence[CauseEvidence | None]:
    return (
        _dark(signs),
        _measured_on(signs),
        _lost(signs),
        _restart(signs),
        _last_voltage(signs),
        _supply(signs),
        _no_sign(signs),
    )


def _no_sign(signs: SilenceSigns) -> CauseEvidence | None:
    dead = signs.last_percent is not None and signs.last_percent < DEAD_PERCENT
    low = signs.supply not in (None, SupplyWord.WELL)
    if signs.dark_s is not None or dead or low or signs.gateways > 1:
        return None
    words = "nothing shows that it had no supply"
    return CauseEvidence("no_sign", words, None, "", -6.0)


def _restart(signs: SilenceSigns) -> CauseEvidence | None:
    if not signs.restart:
        return None
    words = RESTART_WORDS[signs.restart]
    return CauseEvidence("restarted", f"it began again with its supply there: {words}", None, "", -6.0)


def _supply(signs: SilenceSigns) -> CauseEvidence | None:
    percent, word = signs.last_percent, signs.supply
    if word is None:
        return None
    if word is SupplyWord.WELL:
        if signs.over:  # its numbers are better evidence: a gateway without supply is silent, too
            return None
        words = "it has a battery, and reported to the last that its supply is well"
        return CauseEvidence("supply_well", words, None, "", -1.5)
    what = "its gateway's own supply" if word is SupplyWord.GATEWAY_FAILING else "its supply"
    if percent is not None and percent >= DIP_PERCENT:
        words = f"it reported that {what} failed, while the voltage that it measures was well"
        return CauseEvidence("supply_alone", words, percent, "%", -6.0)
    carried = ", and that its battery carries it" if word is SupplyWord.ON_BATTERY else ""
    weight = 2.5 if word is SupplyWord.GATEWAY_FAILING else 4.0
    return CauseEvidence(word.value, f"it reported that {what} failed{carried}", None, "", weight)


def _dark(signs: SilenceSigns) -> CauseEvidence | None:
    dark_s = signs.dark_s
    if dark_s is None:
        return None
    words = f"its gateway reports that it had no supply for {dark_s:.1f} s"
    return CauseEvidence("dark", words, dark_s, "s", 5.0 if dark_s >= LONG_S else 3.0)


def _measured_on(signs: SilenceSigns) -> CauseEvidence | None:
    measured_s = signs.measured_s
    if measured_s is None or measured_s <= MEASURED_SHARE * signs.silent_s:
        return None
    words = f"it measured on for {measured_s:.0f} of {signs.silent_s:.0f} s"
    return CauseEvidence("measured_on", words, measured_s, "s", -9.0)


def _lost(signs: SilenceSigns) -> CauseEvidence | None:
    """Samples that were lost on the way: the Box took them, or could not, with its supply."""
    lost = [(seconds, reason) for reason, seconds in signs.lost]
    if not lost or signs.dark_s is not None:
        return None
    seconds, reason = max(lost)
    words = f"{seconds:.1f} s of its samples {LOST_WORDS[reason]}"
    return CauseEvidence("lost", words, seconds, "s", -9.0)


def _last_voltage(signs: SilenceSigns) -> CauseEvidence | None:
    percent = signs.last_percent
    if percent is None or percent >= DIP_PERCENT:
        return None
    saw, when = ("saw", "just before") if signs.silent else ("measures", "while it sends")
    words = f"it {saw} {percent:.1f} % of nominal {when}"
    dead = percent < DEAD_PERCENT
    return CauseEvidence("dead" if dead else "dip", words, percent, "%", 5.0 if dead else 1.5)


def _signs_around(signs: SilenceSigns) -> Sequence[CauseEvidence | None]:
    silent = [each.box_id for each in signs.neighbours if each.silent]
    reporting = [each for each in signs.neighbours if not each.silent and each.lowest_percent is not None]
    if signs.silent and not signs.over and not reporting and not signs.others_report:
        words = "no other Box sends either"
        return (CauseEvidence("nobody_heard", words, None, "", -2.0),)
    together = None
    if silent:
        count = len(silent)
        others = "another Box" if count == 1 else "other Boxes"  # not all of them need have lost their supply
        words = f"{others} of the same feeder or place fell silent with it"
        together = CauseEvidence("together", words, count, "Boxes", float(min(count, MAX_TOGETHER)))
    return together, _neighbours_voltage(reporting)


def _neighbours_voltage(reporting: Sequence[NeighbourSight]) -> CauseEvidence | None:
    if not reporting:
        return None
    worst = min(reporting, key=lambda each: (each.lowest_percent or 0.0, each.box_id))
    percent = worst.lowest_percent or 0.0
    if percent >= DIP_PERCENT:
        words = f"{_boxes([each.box_id for each in reporting])} beside it went on at a normal voltage"
        return CauseEvidence("neighbour_well", words, percent, "%", -0.5)
    dead = percent < DEAD_PERCENT  # viewers of the silent Box may not know which Box, nor how much
    words = (
        f"a Box beside it saw less than {DEAD_PERCENT if dead else DIP_PERCENT:g} % of nominal at that moment"
    )
    return CauseEvidence("neighbour_dip", words, percent, "%", 2.5 if dead else 1.5)


def _boxes(box_ids: Sequence[str]) -> str:
    named = ", ".join(box_ids[:MAX_TOGETHER])
    more = len(box_ids) - MAX_TOGETHER
    return f"Box {named}" + (f" and {more} more" if more > 0 else "")


def measured_s(before: Measurement, after: Measurement) -> float | None:
    """Returns for how much time between two Measurements of a Box numbers were given; None: not known."""
    if before.sequence is None or after.sequence is None or after.sequence <= before.sequence:
        return None
    start_ns, end_ns = window_ns(after)
    return (after.sequence - before.sequence - 1) * (end_ns - start_ns) / 1e9


def possibly_measured_s(measured: float | None, passed_s: float, dark_s: float) -> float | None:
    """Returns the same where the Box had no supply for `dark_s` of `passed_s`.

    What was not dark limits how many Measurements there can be: a gateway that was killed skips numbers.
    """
    return None if measured is None else min(measured, max(0.0, passed_s - dark_s))


def is_next(before: Measurement, after: Measurement) -> bool:
    """Whether no number is missing between two Measurements."""
    if before.sequence is None or after.sequence is None:
        return True
    return after.sequence <= before.sequence + 1

"""How strong the evidence of a faint disturbance has to be, because noise makes some by chance.

A waveform was fetched because something triggered. So where it has nothing else, nothing at all and a faint
disturbance (an impulse, a ringing or flicker) are taken as equally probable: each of the three has odds of 1
to 3 against nothing. A disturbance that lasts from end to end explains the trigger in part, a sudden one
wholly: a second one that has nothing to do with it would be a coincidence. Flicker beside harmonics is
not one: an arc furnace or a welder causes both. Nor is a transient at the edge of a dip, with a flashover or
a switch.

With sizes spread evenly in their logarithm over a factor of ten, a share of 1 / (t log 10) of them stands out
of the noise by t sigma, per sigma. Noise does so with the density t times the chance that it exceeds t
anywhere in the signal (the tail of a normal distribution). Bayes' rule compares the two.
"""

import math
from collections.abc import Sequence

from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.judgement import Found

CHANCE = 0.01
"""Largest chance that noise gives it anywhere in the signal; above it noise is more probable from 4 sigma
on."""
ODDS_ALONE = 1 / 3
"""Odds of one class of faint disturbances against nothing, before the signal is seen."""
ODDS_LASTING = 1 / 10
"""The same odds beside a disturbance that lasts from end to end."""
ODDS_SUDDEN = 1 / 100
"""The same odds beside a sudden disturbance."""
ODDS_AT_EDGE = 1 / 16
"""The same odds at the edge of a dip."""
SIZE_RATIO = 10.0
"""A size may be anywhere within this ratio with equal probability, and a find by chance competes with all of
it."""
LEVEL_SIGMAS = 2.0
"""A level of noise measured in few bins counts as higher than expected only beyond this many of its
scatters."""
ALONE_FROM_PU = 0.05
"""The odds above apply from this noise over the fundamental on, rms to rms (26 dB); less noise hides
little."""


def posterior(sigmas: float, by_chance: float, odds: float) -> float:
    """The probability that a find with this many sigma is not noise. `by_chance`: the chance that noise has
    one anywhere."""
    return 1 / (1 + by_chance * max(1.0, sigmas) ** 2 * math.log(SIZE_RATIO) / odds)


def likely(found: Sequence[Found], noise_pu: float) -> list[Found]:
    """Those of `found` that are more probable than noise; the class noise is not another disturbance."""
    sure = [each for each in found if _posterior(each, ODDS_SUDDEN) > 0.5]
    others = [each for each in sure if each.kind != "noise"]
    if noise_pu < ALONE_FROM_PU or not all(each.open and each.open_at_start for each in others):
        return sure
    kinds = {each.kind for each in others}
    weak = [(_posterior(each, _odds(each, kinds)), each) for each in found if each not in sure]
    probable = [one for one in weak if one[0] > 0.5]
    return [*sure, max(probable, key=lambda one: one[0])[1]] if probable else sure


def _odds(each: Found, beside: set[str]) -> float:
    """Odds of a faint disturbance beside others from end to end of these classes."""
    from_one_load = each.kind == "flicker" and "harmonics" in beside
    return ODDS_LASTING if beside and not from_one_load else ODDS_ALONE


def _posterior(each: Found, odds: float) -> float:
    if not isinstance(each, Occurrence) or "by_chance" not in each.figures:
        return 1.0
    return posterior(each.figures["sigmas"], each.figures["by_chance"], odds)

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
"""Chance that noise gives it anywhere in the signal: with more, noise is more probable from 4 sigma on."""
ODDS_ALONE, ODDS_LASTING, ODDS_SUDDEN, ODDS_AT_EDGE = 1 / 3, 1 / 10, 1 / 100, 1 / 16
"""Of one class of faint disturbances against nothing, before the signal is seen."""
SIZES = 10.0
"""A size is as likely to be anywhere within this ratio: what is found by chance competes with all of it."""
LEVEL_SIGMAS = 2.0
"""A level of noise measured in few bins counts as higher than expected only beyond so much of its scatter."""
ALONE_FROM_PU = 0.05
"""Noise over the fundamental, rms to rms, from which the former odds apply, 26 dB: less hides little."""


def posterior(sigmas: float, by_chance: float, odds: float) -> float:
    """The probability that what stands out by so much is not noise. `by_chance`: that noise does anywhere."""
    return 1 / (1 + by_chance * max(1.0, sigmas) ** 2 * math.log(SIZES) / odds)


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

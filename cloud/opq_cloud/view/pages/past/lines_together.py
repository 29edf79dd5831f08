"""Several lines of `/past` as one: of Boxes beside one another, or one after the other. Pure."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from opq_cloud.view.pages.past.series import PastSeries, spread_of
from opq_cloud.view.pages.visible.counted import HiddenBox as HiddenBox
from opq_cloud.view.pages.visible.counted import usable_values


def _outer(parts: Sequence[PastSeries]) -> tuple[float, float, float] | None:
    """Of several lines, the mean by the time that each measured."""
    known = [(part.whole, float(part.coverage.sum()) * part.step_ms) for part in parts if part.whole]
    total = sum(weight for _, weight in known)
    if len(known) < len(parts) or total <= 0:
        return None
    mean = sum(whole[1] * weight for whole, weight in known) / total
    return min(whole[0] for whole, _ in known), mean, max(whole[2] for whole, _ in known)


def joined(words: str, parts: Sequence[PastSeries], hidden: Sequence[HiddenBox] = ()) -> PastSeries:
    """Several Boxes as one line; the last of `parts` are those of `hidden`, which are shown as figures only.

    Without hidden ones: the outer limits, and the mean by the time that each measured. With them: medians,
    which are not of a single Box. A hidden Box counts in the rows for which those that have one have enough
    owners. What one Box alone decides is not taken from hidden ones: marks, gaps, the beginning and the end.
    A hidden Box that was moved has several parts.
    """
    known = [part for part in parts if len(part.at_ms)]
    if not known:
        return replace(parts[0], words=words, box_ids=tuple(i for part in parts for i in part.box_ids))
    at_ms = np.unique(np.concatenate([part.at_ms for part in known]))
    shape = (len(parts), len(at_ms))
    low, mean, high = (np.full(shape, np.nan) for _ in range(3))
    cover, flagged = np.zeros(shape), np.zeros(len(at_ms), np.bool_)
    shown = parts[: len(parts) - len(hidden)]
    for row, part in enumerate(parts):
        where = np.searchsorted(at_ms, part.at_ms)
        low[row, where], mean[row, where], high[row, where] = part.low, part.mean, part.high
        cover[row, where] = part.coverage
        if row < len(shown):
            flagged[where] |= part.flagged
    step_ms = max(part.step_ms for part in known)
    boxes = len(shown) + len({each.box.box_id for each in hidden})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row that no Box has stays NaN
        if hidden:
            used = usable_values(~np.isnan(mean[len(shown) :]), hidden)
            for table in (low, mean, high):
                table[len(shown) :][~used] = np.nan
            cover[len(shown) :] = used
            lows, means, highs = (np.nanmedian(table, axis=0) for table in (low, mean, high))
            spread = spread_of(means, np.ones(len(means)))
        else:
            weights = np.where(np.isnan(mean), 0.0, np.maximum(cover, 1e-9))
            lows, highs = np.nanmin(low, axis=0), np.nanmax(high, axis=0)
            means = np.nansum(mean * weights, axis=0) / weights.sum(axis=0)
            spread = spread_of(
                np.concatenate([part.spread.values for part in known]),
                np.concatenate([part.spread.weights for part in known]),
            )
    kept = ~np.isnan(means)
    starts, ends = [part.start_ms for part in shown], [part.until_ms for part in shown]
    if hidden:
        starts, ends = [*starts, *at_ms[kept][:1].tolist()], [*ends, *(at_ms[kept][-1:] + step_ms).tolist()]
    start_ms, until_ms = min(starts, default=0), max(ends, default=0)
    expected = [max(1, part.until_ms - part.start_ms) for part in shown]
    share = sum(part.flagged_share * long for part, long in zip(shown, expected, strict=True))
    return PastSeries(
        words,
        tuple(i for part in parts for i in part.box_ids),
        known[0].source,
        step_ms,
        at_ms[kept],
        lows[kept],
        means[kept],
        highs[kept],
        (cover.sum(axis=0) / boxes)[kept],
        flagged[kept],
        start_ms,
        until_ms,
        spread,
        share / max(1, sum(expected)),
        _outer(known) if not hidden else None,
    )


def after_one_another(words: str, parts: Sequence[PastSeries]) -> PastSeries:
    """The Boxes of one phase, or one Box with other nominal values, as one line.

    It is expected as long as one of them is: a Box that sent nothing in its time leaves a hole.
    """
    if len(parts) == 1:
        return parts[0] if parts[0].words == words else replace(parts[0], words=words)
    known = [part for part in parts if len(part.at_ms)]
    expected = [part for part in parts if part.until_ms > part.start_ms] or parts
    found = (known or parts)[0]
    if len(known) > 1:
        found, rows = joined(words, known), [len(part.at_ms) for part in known]
        share = sum(part.flagged_share * many for part, many in zip(known, rows, strict=True)) / sum(rows)
        coverage = np.minimum(1.0, found.coverage * len(known))
        found = replace(found, coverage=coverage, flagged_share=share)
    return replace(
        found,
        words=words,
        box_ids=tuple(i for part in parts for i in part.box_ids),
        start_ms=min(part.start_ms for part in expected),
        until_ms=max(part.until_ms for part in expected),
    )

"""Which hidden Boxes count in a figure that strangers see: the one rule for every median and count. Pure.

A hidden Box is one whose owner shows "its region" alone. The hidden Boxes of a figure count together or not
at all: they need FEWEST_OWNERS owners, none of whom has half of them, because who owns half of the Boxes of a
median reads the others from it. Boxes without an owner are those of the installation, which is one owner. The
Boxes that everybody sees themselves do not help: their values are known, and could be taken away again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.pages.visible.shown_box import ShownBox

FEWEST_OWNERS = 3
"""The least number of owners of a figure's hidden Boxes."""
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]


def owner_of(accesses: Mapping[str, BoxAccess], box_id: str) -> str:
    """The account that owns a Box; empty for the installation's own."""
    return accesses[box_id].owner_id if box_id in accesses else ""


def enough_owners(owners: Iterable[str]) -> bool:
    """Whether a figure may use these hidden Boxes; `owners`: the owner of each Box."""
    boxes = Counter(owners)
    return len(boxes) >= FEWEST_OWNERS and 2 * max(boxes.values()) < boxes.total()


def numbered_owners(owners: Sequence[str]) -> Whole:
    """(boxes,) the owner of each Box as a number from 0."""
    return np.unique(np.array(owners, np.str_), return_inverse=True)[1].astype(np.int64).reshape(-1)


def groups_with_enough(which: Whole, owners: Whole, groups: int) -> Flags:
    """(groups,) whether each group's hidden Boxes may be used.

    Args:
        which: (n,) group of each hidden Box, 0 to `groups` - 1.
        owners: (n,) number of its owner, from `numbered_owners`.
    """
    most = int(owners.max(initial=0)) + 1
    pairs, boxes = np.unique(which * most + owners, return_counts=True)
    found = pairs // most
    largest = np.zeros(groups, np.int64)
    np.maximum.at(largest, found, boxes)
    many = np.bincount(found, minlength=groups) >= FEWEST_OWNERS
    return many & (2 * largest < np.bincount(which, minlength=groups))


@dataclass(frozen=True, slots=True)
class HiddenBox:
    """A hidden Box of a group, by the facts of some spans."""

    box: ShownBox
    owner: str
    region: str
    stays: tuple[tuple[int, int], ...] = ()
    """The spans in ns in which it counts; empty: always."""


def usable_values(known: Flags, hidden: Sequence[HiddenBox]) -> Flags:
    """(boxes, columns) which values of hidden Boxes each column may use: where those of the Box's region have
    enough owners, and those of all regions together.

    `known`: (boxes, columns) where each of the hidden Boxes has a value.
    """
    owners, used = numbered_owners([each.owner for each in hidden]), np.zeros_like(known)
    for region in {each.region for each in hidden}:
        rows = np.flatnonzero([each.region == region for each in hidden])
        used[rows] = known[rows] & _columns_with_enough(known[rows], owners[rows])
    return used & _columns_with_enough(used, owners)


def _columns_with_enough(known: Flags, owners: Whole) -> Flags:
    box, column = np.nonzero(known)
    return groups_with_enough(column, owners[box], known.shape[1])

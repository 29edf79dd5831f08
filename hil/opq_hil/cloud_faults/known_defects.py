"""What is known to go wrong in the cloud: one table, so that a green run is green for a named reason.

A problem that an entry explains does not fail a seed; it is counted under the entry's name. An entry whose
fault was played and whose problem did not come is named too: it is mended, or rarer than was thought.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownDefect:
    """One defect that is open."""

    name: str
    kinds: frozenset[str]
    """It comes with one of these faults alone; none: with any schedule."""
    problem: str
    """Regular expression, found in the problem's text."""
    what: str
    """What goes wrong and why, with a seed that shows it."""

    def concerns(self, kinds: Iterable[str]) -> bool:
        """Whether it may come in a schedule with these faults."""
        return not self.kinds or not self.kinds.isdisjoint(kinds)

    def explains(self, problem: str, kinds: Iterable[str]) -> bool:
        """Whether a problem of such a schedule is this one."""
        return self.concerns(kinds) and re.search(self.problem, problem) is not None


KNOWN_DEFECTS: tuple[KnownDefect, ...] = ()
"""None is open."""


def sorted_out(
    problems: Sequence[str], kinds: Iterable[str], table: Sequence[KnownDefect] = KNOWN_DEFECTS
) -> tuple[list[str], dict[str, list[str]]]:
    """Problems that nothing explains; known ones by the name of their defect."""
    faults = frozenset(kinds)
    new: list[str] = []
    known: dict[str, list[str]] = {}
    for problem in problems:
        defect = next((each for each in table if each.explains(problem, faults)), None)
        if defect is None:
            new.append(problem)
        else:
            known.setdefault(defect.name, []).append(problem)
    return new, known


def seen_of(
    played: Sequence[tuple[Iterable[str], Iterable[str]]], table: Sequence[KnownDefect] = KNOWN_DEFECTS
) -> dict[str, str]:
    """Name -> in how many of the schedules that may show it a known defect came.

    Args:
        played: of each schedule its kinds of fault, and the names of the known defects that came.
    """
    schedules = [(frozenset(kinds), frozenset(names)) for kinds, names in played]
    came = Counter(name for _, names in schedules for name in names)
    found = {}
    for defect in table:
        of = sum(defect.concerns(kinds) for kinds, _ in schedules)
        mended = "; it did not come: is it mended?" if of and not came[defect.name] else ""
        found[defect.name] = f"{came[defect.name]} of {of}{mended}"
    return found

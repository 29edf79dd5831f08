"""States of a watched Box, and facts that change them; `watch.py` has the table of both.

HEARD --nothing comes--> SILENT --judged: lost supply--> LOST --sends again--> BACK --> HEARD
  |                         +------- sends again -----------------------------^
  +--on battery, no voltage--> DARK --for long enough--> DARK_LOST --voltage again--> HEARD
"""

from enum import Enum, auto


class State(Enum):
    """The state of a watched Box. It follows from the remembered facts and is not stored."""

    HEARD = auto()
    """It sends."""
    SILENT = auto()
    """Nothing came for `silence_s`."""
    BACK = auto()
    """It sends again since less than RETURNED_S: the report of how long it was dark may still come."""
    LOST = auto()
    """Its outage is open."""
    DARK = auto()
    """It sends from its battery, and measures no voltage."""
    DARK_LOST = auto()
    """The same, and its outage is open."""


class Fact(Enum):
    """What a check sees of a Box: its newest Measurement, what lies between two, or that time passed."""

    ROW = auto()
    """Its newest Measurement follows the one before."""
    CROSSING = auto()
    """The same, sent at once because a limit was crossed: the whole window is still to come."""
    JUMP = auto()
    """Its time does not follow the one before: a silence between two checks, or a clock that was set."""
    UNLIT = auto()
    """It reports that its supply is lost, at less than a tenth of its voltage."""

    NEXT = auto()
    """Nothing was missed between two Measurements."""
    GAP = auto()
    """Something was missed, and no loss of supply is reported."""
    REPORT = auto()
    """The gateway reports for how long the Box had no supply."""
    RESTART = auto()
    """A loss of supply in a history: nothing is reported there, and what is not stored was not measured."""
    CLOCK_SET = auto()
    """The clock was set, which shows how long the last loss of supply was."""

    LIT = auto()
    """A Box on battery measures its voltage again, or its supply is back."""
    DARKNESS = auto()
    """A Box on battery has measured no voltage for `silence_s`."""
    SILENCE = auto()
    """Nothing came for `silence_s` (as the original: a minute), and this silence is not judged yet."""

"""What can go wrong with a build, and what to do about it."""

from opq_proto.errors import OpqError


class FirmwareBuildError(OpqError):
    """The firmware cannot be built here, or does not build; the text has the reason and the remedy."""


class BudgetError(OpqError):
    """It builds, and is larger, deeper or less sealed than it may be; the text lists every excess."""

"""What can go wrong while flashing, each with what to do about it."""

from opq_proto.errors import OpqError


class FlashError(OpqError):
    """The firmware is not on the chip; the text says whether anything was changed."""


class HalfWrittenError(FlashError):
    """The chip holds neither the old nor the new firmware; the text says how to go on."""


class LineError(Exception):
    """An answer is missing or wrong: worth another try."""

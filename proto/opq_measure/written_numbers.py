"""Numbers as people read them: so many digits as the quantity has, and no power of ten.

A file of its own, because analyses, reports, pages and mails write them. Pure.
"""

import math

import numpy as np

UNKNOWN = "–"
"""For a value that is not finite."""


def significant(value: float, digits: int = 6, sign: bool = False) -> str:
    """`59.94`, `12350`, `0.00000123`: rounded to so many digits, without zeros at the end.

    Args:
        sign: writes `+` before what is above 0.
    """
    if not math.isfinite(value):
        return UNKNOWN
    text = np.format_float_positional(float(f"{value:.{digits - 1}e}"), trim="-")
    if text == "-0":
        return "0"
    return f"+{text}" if sign and value > 0 else text

"""Small line plots of Braille dots, for any terminal of 40 columns or more."""

import numpy as np
from numpy.typing import NDArray

DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bit of the dot in row, column of a Braille cell; U+2800 and up."""
LABEL_WIDTH = 8


def lines(
    values: NDArray[np.float64], width: int, height: int, unit: str, x_from: str, x_to: str
) -> list[str]:
    """The plot of evenly spaced values as text lines; each column shows minimum to maximum of its share.

    Args:
        values: (n,) finite, n >= 1.
        width, height: of the dots in characters; labels take 9 more columns and one more line.
    """
    low, high = float(values.min()), float(values.max())
    margin = (high - low) * 0.02 or abs(high) * 0.01 or 1.0
    low, high = low - margin, high + margin
    rows, columns = 4 * height, 2 * width
    at = np.linspace(0, len(values), columns + 1).astype(int)
    canvas = np.zeros((rows, columns), dtype=bool)
    before: tuple[int, int] | None = None
    for column in range(columns):
        part = values[at[column] : max(at[column] + 1, at[column + 1])]
        top, bottom = (
            round((high - value) / (high - low) * (rows - 1)) for value in (part.max(), part.min())
        )
        shown = (top, bottom)
        if before is not None:  # no holes between neighbouring columns
            top, bottom = min(top, before[1]), max(bottom, before[0])
        canvas[top : bottom + 1, column] = True
        before = shown
    cells = (canvas.reshape(height, 4, width, 2) * DOTS[None, :, None, :]).sum(axis=(1, 3))
    text = ["".join(chr(0x2800 + int(cell)) for cell in row) for row in cells]
    labels = [""] * height
    labels[0], labels[-1] = f"{high:.4g}", f"{low:.4g}"
    labels[height // 2] = unit
    axis = x_from + x_to.rjust(max(0, width - len(x_from)))
    return [f"{label:>{LABEL_WIDTH}} {row}" for label, row in zip(labels, text, strict=True)] + [
        " " * (LABEL_WIDTH + 1) + axis
    ]

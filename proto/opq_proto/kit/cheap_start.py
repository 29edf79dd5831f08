"""A start and an end of a process that cost little CPU: every command and service of ours begins with it."""

import atexit
import gc
import os

YOUNG_OBJECTS, YOUNG_ROUNDS = 10_000, 20
"""Thresholds of the garbage collector. Imports make hundreds of thousands of objects and hardly any reference
cycle, and so do Measurements and rows; with the default of 700 the search costs a tenth of a start."""


def set_library_defaults() -> None:
    """Has NumPy and pydantic leave out what our programs do not need; called before their import."""
    # windows are small, and BLAS threads would only wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # pydantic reads the files of all installed packages to find plug-ins of its own
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def start_cheaply() -> None:
    """Called first in a program's `main`, before its large imports."""
    set_library_defaults()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, YOUNG_ROUNDS)
    # the interpreter's end searches all objects for garbage, though the memory is returned as a whole
    atexit.register(gc.freeze)

"""A start and an end of a process that cost little CPU."""

import atexit
import gc
import os

YOUNG_OBJECTS = 10_000
"""First threshold of the garbage collector. Imports make hundreds of thousands of objects and hardly any
reference cycle, and so do Measurements and rows; with the default of 700 the search is a tenth of a start."""
YOUNG_ROUNDS = 20
"""Its second and third threshold: searches of a younger generation for each one of the next."""


def start_cheaply() -> None:
    """Called before the large imports, by packages that are programs and by each group of commands."""
    # NumPy: windows are small, and BLAS threads would only wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # pydantic would read the files of all installed packages to find plug-ins of its own
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, YOUNG_ROUNDS)
    # the interpreter's end searches all objects for garbage, though the memory is returned as a whole
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)

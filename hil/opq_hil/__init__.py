"""Hardware in the loop: the real firmware in emulators or on a board, in scripted worlds."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Before any module here, or a test, imports NumPy: small products make its threads wait."""

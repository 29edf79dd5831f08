"""Boxes without hardware: generated and replayed signals, on ptys, at real-time rate."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Before any module here, or a test, imports NumPy: small products make its threads wait."""

"""Boxes without hardware: mains, power systems, Boxes, fleets, data sets, score, faults."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Before any module here, or a test, imports NumPy: small products make its threads wait."""

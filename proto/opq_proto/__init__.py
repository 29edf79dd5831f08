"""The common part of all packages: nouns, wire formats, key files, configuration, errors, logs."""

import os

# before NumPy is imported: windows are small, and threads of BLAS would only wait for each other
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

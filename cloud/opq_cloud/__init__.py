"""The compact cloud tier: Makai, store, Mauka, View; each service alone or all in one process."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Before any module here imports NumPy: windows are small, BLAS threads would only wait for each other."""


def main() -> None:
    """Entry point of `opq-cloud`."""
    from opq_proto.command_line import run_installed  # by those alone who run it

    run_installed("opq-cloud", "opq_cloud.__main__", "cloud")

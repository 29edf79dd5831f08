"""The compact cloud tier: Makai, store, Mauka, View; each service alone or all in one process."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Set before the first import of NumPy, because BLAS threads would only wait on small windows."""


def main() -> None:
    """Entry point of `opq-cloud`."""
    from opq_proto.kit.command_line import run_installed  # imported only where the command runs

    run_installed("opq-cloud", "opq_cloud.__main__", "cloud")

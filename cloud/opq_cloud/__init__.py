"""The compact cloud tier: Makai, store, Mauka, View; each service alone or all in one process."""


def main() -> None:
    """Entry point of `opq-cloud`."""
    from opq_proto.kit.ending import end_at_signals  # both are imported only where the command runs

    end_at_signals()
    from opq_proto.kit.command_line import run_installed

    run_installed("opq-cloud", "opq_cloud.__main__", "cloud")

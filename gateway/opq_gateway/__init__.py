"""The Linux half of a Box: ring on disk, windows, measurements, uplink, commands."""


def main() -> None:
    """Entry point of `opq-gateway`."""
    from opq_proto.kit.ending import end_at_signals  # both are imported only where the command runs

    end_at_signals()
    from opq_proto.kit.command_line import run_installed

    run_installed("opq-gateway", "opq_gateway.__main__", "gateway")

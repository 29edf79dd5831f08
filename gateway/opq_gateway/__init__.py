"""The Linux half of a Box: ring on disk, windows, measurements, uplink, commands."""


def main() -> None:
    """Entry point of `opq-gateway`."""
    from opq_proto.kit.command_line import run_installed  # only for those who run it

    run_installed("opq-gateway", "opq_gateway.__main__", "gateway")

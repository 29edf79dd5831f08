"""`opq-tools release`: bundles and firmware into a repository, signatures, roll-outs (docs/updates.md)."""

from opq_tools.firmware.release.release_command import command

__all__ = ["command"]

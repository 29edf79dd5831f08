"""What rules may reach: files below the operator's folders, and hosts that are public or named by him.

Sources, sinks, plug-in host and configuration need it and do not import each other, hence a separate file.
"""

from dataclasses import dataclass, field

from opq_proto.kit.address_guard import AddressGuard
from opq_proto.kit.file_roots import FileRoots


@dataclass(frozen=True, slots=True)
class Access:
    """The default allows no file, and public hosts only."""

    files: FileRoots = field(default_factory=lambda: FileRoots(()))
    hosts: AddressGuard = field(default_factory=AddressGuard)


NO_ACCESS = Access()


class Guarded:
    """A source or sink of ours that opens files or connections; the plug-in host makes it with `access`."""

    def __init__(self, access: Access = NO_ACCESS) -> None:
        self.access = access

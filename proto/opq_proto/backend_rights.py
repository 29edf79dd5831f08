"""What a key of the services may do: `public_keys/opqpeer_<NAME>.rights`, beside its public file.

    read              # subscribe, at every address that publishes
    9884              # connect to this port, and send any command
    9884 data plugin/opq-ack   # send commands whose names begin so (`wire.command_name`, `event`, `evnew`)
    9899 data_ 1000   # subscribe at this port, to topics that begin so

Each right is one line. Without the file a key has all rights; a file that cannot be read gives none.
"""

from dataclasses import dataclass

from opq_proto.errors import KeyFileError

READ = "read"
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class BackendRights:
    """The rights in the lines of a file."""

    read: bool
    ports: dict[int, tuple[bytes, ...]]
    """Port -> prefixes of topics to which the key may subscribe, or of commands it may send; empty: all."""

    def topics(self, port: int, publishes: bool) -> tuple[bytes, ...] | None:
        """Returns prefixes of topics to which the key may subscribe at a port; None: it may not connect."""
        if port in self.ports:
            return self.ports[port] or (b"",)
        return (b"",) if self.read and publishes else None


NOTHING = BackendRights(False, {})


def read_rights(text: str) -> BackendRights:
    """Reads a file of rights. Raises KeyFileError, which names the line."""
    read, ports = False, dict[int, tuple[bytes, ...]]()
    for number, line in enumerate(text[:MAX_BYTES].splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words == [READ]:
            read = True
        elif words[0].isascii() and words[0].isdecimal() and 0 < int(words[0][:6]) < 65536:
            ports[int(words[0])] = tuple(word.encode() for word in words[1:])
        else:
            raise KeyFileError(
                f"line {number} is {line.strip()!r:.80}; want `{READ}`, or a port and the beginnings "
                "of its topics"
            )
    return BackendRights(read, ports)

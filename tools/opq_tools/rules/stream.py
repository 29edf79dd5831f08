"""`opq-tools stream`."""

from opq_tools.rules.definitions import family

command = family("stream")

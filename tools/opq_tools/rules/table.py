"""`opq-tools table`."""

from opq_tools.rules.definitions import family

command = family("table")

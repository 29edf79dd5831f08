"""Hardware in the loop: the real firmware in emulators or on a board, in scripted worlds."""

from opq_proto.kit.cheap_start import start_cheaply

start_cheaply()

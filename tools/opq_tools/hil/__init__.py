"""`opq-tools hil`: the firmware in an emulator or on a board."""

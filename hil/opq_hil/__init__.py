"""Hardware in the loop: the real firmware in emulators or on a board, in scripted worlds."""

"""Which event is analysed next, and with which samples."""

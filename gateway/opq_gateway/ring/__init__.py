"""The raw samples of the last hours on disk, one ring per Box."""

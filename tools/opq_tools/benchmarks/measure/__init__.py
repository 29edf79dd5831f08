"""The measurement core beside a peer from PyPI: the same signals, the same process, one run."""

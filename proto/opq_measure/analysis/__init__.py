"""Everything that is said of a recording at once: the `opq-tools analyze` contract."""

"""The complete analysis of a recording: the `opq-tools analyze` contract."""

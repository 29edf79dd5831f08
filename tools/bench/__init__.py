"""What is measured by `opq-tools bench`, each beside a baseline of the same run; not part of the wheel."""

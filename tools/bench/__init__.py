"""The benchmarks of `opq-tools bench`, each with a baseline from the same run; not part of the wheel."""

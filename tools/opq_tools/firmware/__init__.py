"""`opq-tools firmware`: the Box's firmware from source, the same bytes each time, held to its budgets."""

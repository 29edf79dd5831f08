"""`opq-tools firmware`: builds the Box's firmware, the same bytes each time, and checks its budgets."""

"""Weekly reports by standard, and indices."""

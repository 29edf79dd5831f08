"""Many stored events on the workers of an executor."""

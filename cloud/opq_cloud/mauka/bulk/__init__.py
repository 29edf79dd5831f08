"""Many stored events on the workers of a Dask scheduler."""

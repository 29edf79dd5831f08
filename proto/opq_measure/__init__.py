"""The pure definitions of power-quality quantities: NumPy and SciPy, no I/O."""

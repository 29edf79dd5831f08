"""The pure definitions of power-quality quantities: NumPy, no I/O."""

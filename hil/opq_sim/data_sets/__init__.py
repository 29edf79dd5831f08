"""Labelled recordings of every class, magnitudes from one table, the same bytes on every Python and NumPy."""

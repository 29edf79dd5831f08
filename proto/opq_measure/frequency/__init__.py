"""Frequency, from ten seconds down to one cycle, at the Cramer-Rao bound, and its rate of change."""

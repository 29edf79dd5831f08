"""Reads the samples of a Box from its port, puts them in order and stamps them once."""

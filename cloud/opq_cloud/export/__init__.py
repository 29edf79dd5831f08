"""Stored data as files for other programs: see README.md in this folder."""

"""Stored events analysed again, and their earlier findings replaced."""

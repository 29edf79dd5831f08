"""Hypothesis without a time limit per example: on a busy machine it says nothing of the code."""

from hypothesis import settings

settings.register_profile("opq", deadline=None)
settings.load_profile("opq")

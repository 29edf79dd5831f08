"""Receives what Makai requests of a Box, and answers it."""

"""Completion with the tab key: the script for a shell, and the values that a running system has."""

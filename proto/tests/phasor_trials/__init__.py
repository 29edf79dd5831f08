"""Synchrophasors in the tests of C37.118.1, compared with the limits."""

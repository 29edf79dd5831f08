"""Synchrophasors in the tests of C37.118.1, beside each limit."""

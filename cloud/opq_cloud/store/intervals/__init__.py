"""Intervals of class A: blocks of columns, and distributions that can be added. Pure, used by both stores."""

"""Intervals and disturbances of class A as they are appended, packed, read and removed."""

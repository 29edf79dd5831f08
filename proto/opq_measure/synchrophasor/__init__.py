"""Synchrophasors of IEEE C37.118.1, class P and M, on the UTC grid."""

"""Faults of all kinds at a real cloud, by seed: is every Measurement kept, and every dip one incident?"""

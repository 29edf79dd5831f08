"""Faults of all kinds at a real gateway, by seed: is every sample and every Measurement accounted for?"""

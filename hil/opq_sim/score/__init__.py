"""Compares the truth (truth.jsonl) with the findings (stored incidents): pure, no store and no clock."""

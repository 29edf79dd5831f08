"""What was put in (truth.jsonl) against what was found (stored incidents): pure, no store and no clock."""

"""What the supply was like in a week, by a standard: limits, verdicts, reports."""

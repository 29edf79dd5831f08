"""Key files, who is admitted by them, signatures, and the token of a rule engine."""

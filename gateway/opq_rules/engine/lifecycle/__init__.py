"""How a rule starts and stops: what it runs in, and what it shares with other rules."""

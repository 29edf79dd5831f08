"""Why an incident happened: signs, hypotheses, and the side of a fault. Pure."""

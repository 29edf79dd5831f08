"""The causes of an incident: signs, hypotheses, and the side of a fault. Pure."""

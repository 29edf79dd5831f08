"""Triggers and rules decide here about Measurements."""

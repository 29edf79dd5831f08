"""What triggers and rules decide about a Measurement."""

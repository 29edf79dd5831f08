"""What the original project's Mauka measures, exactly as it does, where it deviates from standards."""

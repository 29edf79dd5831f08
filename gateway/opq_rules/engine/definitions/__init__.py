"""What streams, rules and configurations are, and how they are stored."""

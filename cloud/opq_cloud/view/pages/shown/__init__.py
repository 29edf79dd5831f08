"""What a visitor may see of the store and of live values."""

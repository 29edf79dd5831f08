"""`opq-tools sim history`: simulates days of a grid in minutes, into a store for the live system."""

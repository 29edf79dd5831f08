"""What View has for all visitors, what of it a visitor may see, and what pages draw with."""

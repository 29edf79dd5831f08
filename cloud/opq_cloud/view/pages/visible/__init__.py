"""What View has for all visitors, and the part of it that the visitor of a request may see."""

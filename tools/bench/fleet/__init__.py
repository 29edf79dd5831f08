"""A fleet against Makai's services, each a process of its own."""

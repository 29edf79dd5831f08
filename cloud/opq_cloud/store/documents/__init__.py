"""Our nouns as the original's documents, and back (opq-interop, part D)."""

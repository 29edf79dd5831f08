"""Our nouns as the original's documents, and back (opq-interop, part D)."""

from typing import Any

Document = dict[str, Any]

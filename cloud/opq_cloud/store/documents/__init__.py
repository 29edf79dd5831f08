"""Our nouns as the original's documents, and back (docs/reference/opq-interop.md, part D)."""

from typing import Any

Document = dict[str, Any]

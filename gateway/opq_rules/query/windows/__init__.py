"""The windows of D.2, grouped by what ends them; `window` has their common part."""

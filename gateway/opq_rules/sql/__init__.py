"""The SQL of stream rules: text -> syntax tree, with the place of every error."""

"""`/api/v1`: what programs read of View. docs/api.md."""

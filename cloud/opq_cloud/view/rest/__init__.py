"""`/api/v1`: View's interface for programs; see docs/api.md."""

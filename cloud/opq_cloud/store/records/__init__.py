"""Records of people and services in tables of documents by key, which both stores have."""

"""`opq-tools export` and `import`: stored data as files of others, and files of others into the store."""

"""The pages of administrators: Boxes, keys, the log of changes, plug-ins, rules, the services."""

"""Which analyses there are: built in and named by the configuration, and who made a finding."""

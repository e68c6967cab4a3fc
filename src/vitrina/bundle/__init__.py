"""The release: one immutable, checksummed directory, and the registry that holds releases."""

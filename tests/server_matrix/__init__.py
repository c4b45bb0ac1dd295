"""The whole server in one process on each store: the same tests, the same answers."""

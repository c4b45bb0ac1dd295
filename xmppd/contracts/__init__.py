"""What plugins and core agree on: typed hooks, typed services, the events they carry. No behaviour."""

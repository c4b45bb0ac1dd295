"""What administrators see of a running server: the log, and what is counted."""

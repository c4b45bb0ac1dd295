"""What a unit of work costs the server, in CPU time of its process; beside Prosody where that is installed."""

"""The server as its users meet it: a process, its command line, its sockets."""

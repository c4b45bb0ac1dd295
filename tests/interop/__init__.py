"""Clients that other people wrote, over real sockets, on the stores that people use."""

"""Readable conversations with a server, one file per XEP: see README.md."""

"""Domains that this server serves, and their plugins."""

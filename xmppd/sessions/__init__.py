"""Accounts in memory and their sessions: binding, resuming, availability, snapshots."""

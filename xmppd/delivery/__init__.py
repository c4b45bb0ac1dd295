"""Delivery of an account's log to its devices: channels, cursors, acknowledgements (docs/explanation/delivery.md)."""

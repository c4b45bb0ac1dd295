"""An XMPP chat server: a core of streams, routing, delivery and storage; everything else is a plugin."""

__version__ = "0.1.0"

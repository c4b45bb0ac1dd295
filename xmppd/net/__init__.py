"""Connections on asyncio or uvloop: I/O that knows no rule of XMPP.

`listen` accepts, `connection` moves the bytes, `tls_layer` encrypts them, `engine` is what they share, `link` is the
contract with the protocol above.
"""

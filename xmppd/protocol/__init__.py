"""XMPP without input and output: bytes to stanzas, the acknowledgement queue, SASL."""

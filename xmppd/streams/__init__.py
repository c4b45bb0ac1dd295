"""XML streams over connections: the client's negotiation, sign-in, rate limits."""

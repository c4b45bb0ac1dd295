"""The path of a stanza: which destination, in which order, in which transaction."""

"""Moving in and out: data of other servers is read, data of this one is written, as XEP-0227 has it."""

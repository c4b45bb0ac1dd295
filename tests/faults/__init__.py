"""The ledger: what clients saw while a real server was killed, stopped, cut off and starved, and what it may not be.

`ledger.py` is what is written down, `checker.py` what must be true of it, `client.py` who writes it,
`faults.py` what goes wrong, `trial.py` one run of all that. `python -m tests.faults --help`.
"""

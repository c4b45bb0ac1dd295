"""The journal in one process, deterministic by seed (docs/explanation/simulation.md).

`loop`: an event loop and a clock for each simulated process; `world`: time, chance, what goes wrong; `database`: what
MongoDB keeps; `documents`: the statements on their way to it; `process`, `load`: servers and what their clients do;
`judge`: whether it was right; `cheats`: servers that are not.
"""

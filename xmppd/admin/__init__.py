"""What administrators do: accounts made, changed and removed, operations, the control socket."""

"""The manual; `generate` writes the part that comes from the code."""

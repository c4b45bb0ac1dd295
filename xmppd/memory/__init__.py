"""What the process keeps in memory: budgets in bytes, and freed memory given back."""

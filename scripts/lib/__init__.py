"""What ./scripts/dev, ./scripts/demo and ./scripts/test share. Python's standard library only."""

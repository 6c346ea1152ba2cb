"""What an operator asks and does: one module per concern."""

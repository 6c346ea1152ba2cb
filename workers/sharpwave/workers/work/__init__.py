"""What travels between the duties: entries, messages, ticks."""

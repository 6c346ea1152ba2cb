"""Short-term memory becomes long-term memory."""

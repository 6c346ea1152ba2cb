"""Five agents replay two decades of market history: a demonstration on real data."""

"""Finding patterns that nobody wrote down: `features`, `columns`, `lattice`, and the `sweep`."""

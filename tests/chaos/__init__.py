"""Proof by breakage: the whole system under faults and kills, and a checker of what came of it."""

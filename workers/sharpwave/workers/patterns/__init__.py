"""How outcomes become confidence: ledger elements, counts, statistics, and what writes them."""

"""From stream records to work messages, wherever it is hosted."""

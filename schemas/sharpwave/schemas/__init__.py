"""The contract: ids, keys, times, records, messages, tables and queues as data."""

"""Delivery of signals: audiences, rows, inboxes, mirrors, acknowledgements, deadlines."""

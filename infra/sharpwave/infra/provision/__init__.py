"""Tables and queues: made, put right, removed."""

"""Tables and queues: made, put right, removed, or written as a template."""

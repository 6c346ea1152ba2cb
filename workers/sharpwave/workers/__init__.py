"""The pipeline: router, pump, broker, handlers, and the one place that puts them together."""

"""What the pipeline costs at list prices: from a model of its flow, or from measured counts."""

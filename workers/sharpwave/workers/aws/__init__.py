"""The ports on AWS: the only modules beside the broker and the pump that speak to it."""

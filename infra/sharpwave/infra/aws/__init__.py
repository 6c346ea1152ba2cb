"""What a deployment at AWS consists of: its plan, its policies, its stacks and their templates."""

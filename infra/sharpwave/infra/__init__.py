"""Where the pipeline runs: provisioning, operations, the local stack."""

"""What calls to an emulator would be billed as: the estimate that holds the cost model to a run."""

"""Benchmarks: ours beside what else does the job, in the same run on the same machine."""

"""The parts of a run: stages, jobs on the host, assets, time limits."""

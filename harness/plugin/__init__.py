"""The pytest plugin, the session of a run, and the work of `python -m harness`."""

"""The pytest plugin, and all that knows a pytest session."""

"""Assertions on what the stages left behind. A suite never changes the host."""

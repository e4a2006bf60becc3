"""Runs that are killed at every change, and what is left on the lab once they are recovered."""

"""Runs that have to pass, counted."""

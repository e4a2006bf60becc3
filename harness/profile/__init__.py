"""Profiles: read, checked, explained."""

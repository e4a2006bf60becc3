"""Profiles: reading, checking, and messages for errors in them."""

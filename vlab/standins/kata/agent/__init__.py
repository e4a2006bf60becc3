"""The stand-in for kata's agent: process 1 of the guest. See ``main``."""

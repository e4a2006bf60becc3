"""Machinery of an acceptance run: hosts, commands, stages, time and undo.

It knows no GPU, no kata and no suite.
"""

"""Hosts: commands, files and port forwards, over ssh or on this machine."""

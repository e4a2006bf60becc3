"""The way to a host: commands, files, forwards, over ssh or on this machine."""

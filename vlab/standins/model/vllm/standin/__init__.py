"""What stands in for vLLM: command line, device check, engine and HTTP interface, a file each."""


class StandInError(Exception):
    """The server cannot start; the message is what it prints."""

"""The one exception of the virtual lab."""


class VlabError(Exception):
    """The lab could not be built or started; the message says what to do about it."""

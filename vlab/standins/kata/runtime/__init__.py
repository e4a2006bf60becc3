"""The stand-in for kata's runtime, on the host: an OCI runtime whose containers are machines."""

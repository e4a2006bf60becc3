"""Every stage, on a host that answers from the record of a real run."""

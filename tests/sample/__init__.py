"""Stages and suites that tests run as a real run of its own would: in a folder of their own."""

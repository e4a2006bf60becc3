"""Projects, stages and suites that tests run as a real run would: in a folder of its own.

A module is a plugin that the conftest of the folder names; `suite_x.py` is copied into it as a test
module. What they do is chosen by the environment, whose names begin with MINI_.
"""

"""The harness's own tests: no root, no lab, under a minute."""

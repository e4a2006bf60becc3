"""``python -m vlab``: see ``vlab.cli``."""

import sys

from vlab import cli

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))

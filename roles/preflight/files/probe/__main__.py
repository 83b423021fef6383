"""Runs the probe: `python3 FOLDER`, or `python3 ARCHIVE` of it."""

import sys

from ddp_probe.main import main

if __name__ == "__main__":
    sys.exit(main())

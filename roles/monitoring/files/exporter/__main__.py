"""Tells Prometheus what a rank has written: `python3 ARCHIVE OPTIONS`."""

import sys

from ddp_exporter.main import main

if __name__ == "__main__":
    sys.exit(main())

"""Starts a rank: `python3 FOLDER OPTIONS -- COMMAND`, or `python3 ARCHIVE ...`."""

import sys

from ddp_launcher.main import main

if __name__ == "__main__":
    sys.exit(main())

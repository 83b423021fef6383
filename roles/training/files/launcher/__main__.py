"""Starts a rank: `python3 FOLDER OPTIONS -- COMMAND`, or `python3 ARCHIVE ...`."""

import os
import sys
from contextlib import suppress

from ddp_launcher.main import main

if __name__ == "__main__":
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    # Python ends threads that outlive the main one by pthread_exit, which needs libgcc_s, and kills a container that has none with 139.
    os._exit(code)

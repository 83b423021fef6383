"""A host whose Python is too old says so in a sentence, before anything is read that this Python would not understand.

Whatever runs on a host imports this first, by way of text.py. Nothing newer than Python 3.6 here.
"""

import json
import sys

if sys.version_info < (3, 9):  # noqa: UP036 - that is what this is for
    version = ".".join(str(part) for part in sys.version_info[:3])
    said = (
        "This host's Python is {} ({}), and 3.9 is the oldest that will do: install a newer one, and name it in "
        "ansible_python_interpreter."
    )
    print(json.dumps({"failed": True, "changed": False, "msg": said.format(version, sys.executable)}))
    sys.exit(1)

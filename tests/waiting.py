"""How tests wait for what other processes and hosts do."""

import time
from collections.abc import Callable
from typing import Any


def until(happened: Callable[[], Any], timeout: float = 90, what: str = "it did not happen") -> Any:
    """What has happened, once it is true of anything. Asks seldom of what takes long: after a tenth of the time so far, in seconds."""
    began = time.monotonic()
    while not (found := happened()):
        waited = time.monotonic() - began
        assert waited < timeout, what
        time.sleep(min(0.005 + waited / 10, 1))
    return found

"""The project's modules can be imported, and `swarm` and `call` are a swarm that is played."""

from collections.abc import Iterator

import modules  # noqa: F401
import pytest
from ansible.module_utils.common import warnings
from preflight_ranks import judged, pair, trio  # noqa: F401
from swarm_stand_in.fixtures import call, swarm  # noqa: F401
from trees import root  # noqa: F401


@pytest.fixture(autouse=True)
def _module_is_a_process_of_its_own() -> Iterator[None]:
    """With no warnings of an earlier one in its result."""
    yield
    for kept in ("_global_warnings", "_global_deprecations"):
        getattr(warnings, kept, {}).clear()

"""The project's modules can be imported, and `swarm` and `call` are a swarm that is played."""

import modules  # noqa: F401
from swarm_stand_in.fixtures import call, swarm  # noqa: F401

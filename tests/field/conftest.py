"""Two hosts in a swarm, for the situations that leave a lab as they found it.

Rows 9, 10, 32, 33 and 34 need a swarm that trains: they are planted in tests/faults (`make faults`), see planting.py. Rows 16, 17 and 47
end before any host is asked: tests/roles/test_inventories.py (`make roles`).
"""

from collections.abc import Iterator

import pytest
from labs import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab("field").running("docker", "swarm") as lab:
        yield lab

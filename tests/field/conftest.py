"""Two hosts in a swarm, for the situations that leave a lab as they found it.

Other rows are tested where what they need is there: 9, 10, 12, 32, 33, 34 and 48 need a swarm that trains and are planted in tests/faults
(planted.py); 2 and 39 are in tests/scripts/test_snapshots.py, 40 in tests/scripts/test_examples.py; 11 is in tests/lifecycle/test_told.py, 30 in
tests/lifecycle/test_one_hand.py; 43 is in tests/e2e/test_site.py, 46 in tests/unit/test_filter_training_command.py. Rows 16, 17, 41 and 47 end
before any host is asked: tests/roles/test_inventories.py and test_setting_checks.py.
"""

from collections.abc import Iterator

import pytest
from labs import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab("field").running("docker", "swarm") as lab:
        yield lab

"""Two hosts in a swarm, for the situations that leave a lab as they found it.

Other rows are tested where what they need is there. `make field` runs these files too, for they need no lab: rows 16, 17 and 47 in
tests/roles/test_inventories.py, 41 in tests/roles/test_setting_checks.py, 43 in tests/unit/test_brief.py, 46 in
tests/unit/test_filter_training_command.py, 2 in tests/unit/test_launcher.py (hosts in another order), 12 and 48 in
tests/unit/test_observe_mounts.py.

With labs of their own, 9, 10, 12, 32, 33, 34 and 48 are planted in tests/faults (planted.py); 2 is in tests/lifecycle/test_gone.py (ranks that
move), 39 in tests/scripts/test_snapshots.py, 40 in tests/scripts/test_examples.py, 11 in tests/lifecycle/test_told.py, 30 in
tests/lifecycle/test_one_hand.py, and 43 in tests/e2e/test_site.py.
"""

from collections.abc import Iterator

import pytest
from labs import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab("field").running("docker", "swarm") as lab:
        yield lab

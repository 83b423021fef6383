"""TensorBoard and Prometheus in Chromium, while the trainer trains on two hosts, by the addresses that the console prints.

Prometheus runs in an image that stands in for the official one, with the pages that Debian's package has, which are its classic ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from browser import Look
from consoles import console
from labs import Lab
from ports import free_port
from prometheus_stand_ins import STAND_INS, archive, settings, tunnel
from waiting import until


@pytest.fixture(scope="module")
def lab(browser: None) -> Iterator[Lab]:
    with Lab("boards").running("docker", "swarm", "image") as lab:
        for part, name in STAND_INS.items():
            archive(lab, part, name)
        run = lab.play("playbooks/training.yml", training_args="100000 1 --snapshot_path /snapshots/snapshot.pt")
        assert run.rc == 0, run.stdout[-4000:]
        yield lab


def test_tensorboard_has_the_curves_of_a_job_that_trains(lab: Lab, window: Callable[..., Look]) -> None:
    port = str(free_port())
    words = ["board", "--port", port, "--every", "5"]
    with console(lab, *words, ready="Ctrl-C ends it", training_artifacts_dir=str(lab.artifacts)) as said:
        assert f"http://127.0.0.1:{port}/" in said
        look = window(1280, "light", offline=False).visit(f"http://127.0.0.1:{port}/")
        for tag in ("loss", "samples_per_s"):
            look.page.get_by_text(tag, exact=False).first.wait_for(timeout=60_000)
        look.page.locator("line-chart svg.series-view path, scalar-card svg path").first.wait_for(timeout=60_000)
        look.keep("tensorboard")


def test_prometheus_has_its_targets_and_the_loss_through_the_tunnel(lab: Lab, window: Callable[..., Look]) -> None:
    run = lab.play("playbooks/monitoring.yml", **settings(lab))
    assert run.rc == 0, run.stdout[-4000:]
    with tunnel(lab) as port:
        look = window(1280, "light", offline=False)

        def all_up() -> bool:
            look.visit(f"http://127.0.0.1:{port}/classic/targets")
            shown = str(look.page.inner_text("body"))
            return shown.count("UP") >= 5 and "DOWN" not in shown

        until(all_up, timeout=120)
        look.keep("prometheus-targets")
        look.visit(f"http://127.0.0.1:{port}/classic/graph?g0.expr=ddp_train_loss&g0.tab=1")
        look.page.get_by_text('rank="1"', exact=False).first.wait_for(timeout=60_000)
        look.keep("prometheus-loss")

"""Files of volumes, also of those that only a container mounts."""

import json
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.results.volume_files import files_of
from docker_stand_in import Told

PLACE = "/var/lib/docker/volumes/job_snapshots/_data"
NFS = json.dumps({"type": "nfs", "o": "addr=10.0.0.5", "device": ":/srv"})


def looked(**answers: Any) -> tuple[str | None, list[str]]:
    docker = Told({name.replace("_", " "): said for name, said in answers.items()})
    with files_of(docker, "job_snapshots") as path:
        assert not [words for words in docker.asked if words[0] == "rm"]
    return path, [" ".join(words) for words in docker.asked]


@pytest.mark.parametrize("said", [f"{PLACE}\nlocal\nnull\n", f"{PLACE}\nlocal\n{{}}\n", f"{PLACE}\n"])
def test_a_volume_of_dockers_own_needs_no_container(said: str) -> None:
    path, asked = looked(volume_inspect=said)
    assert (path, len(asked)) == (PLACE, 1)


def test_no_volume() -> None:
    assert looked(volume_inspect=("No such volume", 1))[0] is None


@pytest.mark.parametrize("said", [f"{PLACE}\nlocal\n{NFS}\n", f"{PLACE}\nvieux/sshfs:latest\nnull\n"])
def test_a_volume_with_a_driver_is_held_while_it_is_looked_at(said: str) -> None:
    path, asked = looked(volume_inspect=said, ps="job:1\njob:1\n", image_ls="0123\n", run="c0ffee\n", rm="")
    assert path == PLACE
    (run,) = [words for words in asked if words.startswith("run")]
    assert "--mount type=volume,source=job_snapshots,target=/held,volume-nocopy --entrypoint sleep job:1 3600" in run
    assert asked[-1] == "rm --force c0ffee"


def test_what_cannot_be_held_is_said() -> None:
    for answers, words in (
        ({"ps": "", "image_ls": ""}, "there is no image"),
        ({"ps": "", "image_ls": "0123\n", "run": ("no such device", 125)}, "no such device"),
    ):
        with pytest.raises(DockerError, match=words):
            looked(volume_inspect=f"{PLACE}\nlocal\n{NFS}\n", **answers)

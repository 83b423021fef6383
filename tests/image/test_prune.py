"""Old images go, except what anyone uses or made."""

from conftest import Images


def test_the_last_ones_stay_and_what_is_in_use(images: Images) -> None:
    lab, refs = images.lab, []
    for text in "abcde":
        images.have(text, image_distribution="ship", image_keep=0)
        refs.append(images.ref())
    lab.on("host2", "docker", "create", "--name", "user", refs[0])
    lab.on(
        "host1", "docker", "service", "create", "--detach", "--no-resolve-image", "--replicas=0", "--name=user", refs[1]
    )
    lab.on("host3", "docker", "tag", refs[2], "kept:mine")
    lab.on("host3", "sh", "-c", "tar --create --files-from /dev/null | docker import - my-ddp-trainer:theirs")

    was = {host: images.tags(host) for host in ("host1", "host2", "host3")}
    told = images.play(options="--check --diff", image_keep=2)
    assert told.rc == 0, told.stdout[-4000:]
    assert {row.split(":")[0] for row in told.changed()} == set(was)
    assert {host: images.tags(host) for host in was} == was

    run = images.play(image_keep=2)
    assert run.rc == 0, run.stdout[-4000:]
    assert images.tags("host1") == {refs[1], refs[3], refs[4]}
    assert images.tags("host2") == {refs[0], refs[1], refs[3], refs[4]}
    assert images.tags("host3") == {refs[1], refs[3], refs[4], "my-ddp-trainer:theirs"}
    assert lab.on("host3", "docker", "run", "--rm", "kept:mine").strip() == "c"
    again = images.play(image_keep=2)
    assert (again.rc, again.changed()) == (0, [])

    lab.on("host2", "docker", "rm", "user")
    lab.on("host1", "docker", "service", "rm", "user")
    run = images.play(limit="host2", image_keep=2)
    assert run.rc == 0, run.stdout[-4000:]
    assert images.tags("host2") == {refs[3], refs[4]}
    assert refs[1] in images.tags("host1")

    # What is to be built counts already, so one run is enough.
    images.have("f", image_distribution="ship", image_keep=1)
    assert images.tags("host1") == {images.ref()}


STAGES = """
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS packages
RUN echo TEXT >/packages
LABEL io.ddp-swarm.stage=packages
FROM ${BASE_IMAGE} AS program
COPY train.py /
LABEL io.ddp-swarm.stage=program
FROM ${BASE_IMAGE}
COPY --from=packages /packages /
COPY --from=program /train.py /
CMD ["python3", "/train.py"]
"""


def test_stages_of_the_classic_builder(images: Images) -> None:
    dockerfile = images.context / "Dockerfile"
    was = dockerfile.read_text()
    seen = []
    for text in "xyz":
        dockerfile.write_text(STAGES.replace("TEXT", text))
        images.have(text, image_distribution="ship", image_builder="classic", image_keep=2)
        stages = {
            name: images.lab.on(
                "host1", "docker", "image", "ls", "--quiet", "--filter", f"label=io.ddp-swarm.stage={name}"
            ).split()
            for name in ("packages", "program")
        }
        assert stages["program"] == []
        seen.append(stages["packages"])
    assert [len(ids) for ids in seen] == [1, 2, 2]
    assert seen[2][1:] == seen[1][:1]
    images.write("another program of the same packages")
    run = images.play(image_distribution="ship", image_builder="classic", image_keep=2)
    assert run.rc == 0, run.stdout[-4000:]
    assert "RUN echo z >/packages (cached)" in run.stdout
    again = images.play(image_distribution="ship", image_builder="classic", image_keep=2)
    assert (again.rc, again.changed()) == (0, [])
    dockerfile.write_text(was)


def test_the_name_latest_goes_back_with_the_program(images: Images) -> None:
    images.have("old", image_distribution="ship")
    program = (images.context / "train.py").read_text()
    images.have("new", image_distribution="ship")
    (images.context / "train.py").write_text(program)
    back = images.play(image_distribution="ship")
    assert back.rc == 0, back.stdout[-4000:]
    assert [row for row in back.changed() if "let the name latest follow" not in row] == []
    images.are_the_same("old")
    again = images.play(image_distribution="ship")
    assert (again.rc, again.changed()) == (0, [])

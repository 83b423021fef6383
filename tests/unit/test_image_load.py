"""What is loaded of files that come from another host. Docker is a stand-in; tests/image loads into real engines."""

import base64
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.image import load as image_loading
from ansible_collections.ddp.swarm.plugins.modules import image_load
from docker_stand_in import StandIn, log_of_host, run

CONFIG = b'{"architecture": "amd64"}'
ID = "sha256:" + hashlib.sha256(CONFIG).hexdigest()
OVERLAY = {"ServerVersion": "26.1.5", "DriverStatus": [["Backing Filesystem", "extfs"]]}
CONTAINERD = {"ServerVersion": "29.0.0", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}


def tar(content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("file")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


LAYERS = [tar(b"lower"), tar(b"upper")]
DIFF_IDS = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in LAYERS]


def shipped(content: bytes, packed: bytes | None = None, /, **other: Any) -> dict[str, Any]:
    """A layer as image_save returns it."""
    name = hashlib.sha256(content).hexdigest()
    file = content if packed is None else packed
    return {
        "diff_id": f"sha256:{name}",
        "chain": f"sha256:{name}",
        "file": f"{name}.tar" if packed is None else f"{name}.tar.zst",
        "sha256": hashlib.sha256(file).hexdigest(),
        "bytes": len(file),
        "size": len(content),
        **other,
    }


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn(tmp_path / "docker", monkeypatch)
    engine(stand_in, OVERLAY)
    return stand_in


def engine(docker: StandIn, info: dict[str, Any], id: str = ID, **answers: Any) -> None:
    image = [{"Id": id, "RootFS": {"Layers": DIFF_IDS}}]
    docker.answer(
        {"load": "", **answers, "info": json.dumps(info), "image inspect": json.dumps(image), "image tag": ""}
    )


@pytest.fixture
def src(tmp_path: Path) -> Path:
    path = tmp_path / "src"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def load(docker: StandIn, src: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Loads; the second layer is shipped as a file unless another one is given."""
    (src / (DIFF_IDS[1].split(":")[1] + ".tar")).write_bytes(LAYERS[1])
    usual = {"ref": "trainer:1", "tags": ["trainer:latest"], "src": str(src), "id": ID, "diff_ids": DIFF_IDS}
    usual |= {"config": base64.b64encode(CONFIG).decode(), "layers": [shipped(LAYERS[1])]}
    return lambda **params: run(image_load, capsys, **{**usual, **params})


def loaded(docker: StandIn) -> dict[str, bytes]:
    """The archive that docker was given."""
    (call,) = docker.calls("load")
    with tarfile.open(fileobj=io.BytesIO(call["stdin"])) as archive:
        found = {}
        for member in archive:
            stream = archive.extractfile(member)
            assert stream
            found[member.name] = stream.read()
        return found


def test_an_archive_of_the_layers_that_were_shipped(load: Any, docker: StandIn) -> None:
    assert load()["changed"] is True
    names = [diff_id.split(":")[1] + ".tar" for diff_id in DIFF_IDS]
    found = loaded(docker)
    manifest = json.loads(found.pop("manifest.json"))
    assert found == {ID.split(":")[1] + ".json": CONFIG, names[1]: LAYERS[1]}
    assert manifest == [
        {"Config": ID.split(":")[1] + ".json", "RepoTags": ["trainer:1", "trainer:latest"], "Layers": names}
    ]


HOSTILE_NAMES = [
    "../../x",
    "{tmp}/x",
    "x",
    "",
    ".",
    "a" * 64,
    "A" * 64 + ".tar",
    "0" * 64 + ".tar\n",
    "0" * 64 + ".tar/x",
]


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "../" + "0" * 64 + ".tar", None, 1, ["x"]])
def test_no_file_has_another_name_than_a_layers(name: Any, load: Any, docker: StandIn, tmp_path: Path) -> None:
    content = base64.b64encode(b"evil").decode()
    before = sorted(path for path in tmp_path.rglob("*") if path.parent != docker.place)
    file = name.replace("{tmp}", str(tmp_path)) if isinstance(name, str) else name
    said = load(layers=[{**shipped(b"evil"), "file": file, "content": content}])
    assert said["failed"] is True
    assert "64 hexadecimal digits and .tar" in said["msg"]
    assert sorted(path for path in tmp_path.rglob("*") if path.parent != docker.place) == before
    assert docker.calls() == []


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"id": "sha256:../x"}, "speaks of 'sha256:../x', which is no SHA-256 digest"),
        ({"diff_ids": ["sha256:" + "0" * 63]}, "which is no SHA-256 digest"),
        ({"layers": [shipped(b"", diff_id="../x")]}, "speaks of '../x', which is no SHA-256 digest"),
        ({"layers": [shipped(b"", chain="\x1b[2J")]}, r"speaks of '\x1b[2J', which is no SHA-256 digest"),
        ({"layers": [shipped(b"", sha256=1)]}, "which is no SHA-256 digest"),
        ({"layers": [shipped(b"", bytes="1")]}, "speaks of '1' bytes"),
        ({"layers": [shipped(b"", size=-1)]}, "speaks of -1 bytes"),
        ({"layers": [shipped(b"", size=True)]}, "speaks of True bytes"),
        ({"layers": [shipped(b"", content="no base64!")]}, "it is not shaped as what image_save returns"),
        ({"layers": [{}]}, "it is not shaped as what image_save returns"),
        ({"config": "no base64!"}, "it is not shaped as what image_save returns"),
    ],
)
def test_what_image_save_does_not_say_is_refused(params: Any, said: str, load: Any, docker: StandIn) -> None:
    result = load(**params)
    assert said in result["msg"]
    assert result["msg"].startswith("What the image trainer:1 shall be made of does not serve: ")
    assert docker.calls() == []


def test_a_link_in_the_place_of_a_file_is_neither_read_nor_written(load: Any, src: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(LAYERS[1])
    file = src / (DIFF_IDS[1].split(":")[1] + ".tar")
    file.unlink()
    file.symlink_to(outside)
    assert load()["failed"] is True
    outside.write_bytes(b"precious")
    content = base64.b64encode(LAYERS[1]).decode()
    assert load(layers=[shipped(LAYERS[1], content=content)])["changed"] is True
    assert outside.read_bytes() == b"precious"


def test_a_pipe_in_the_place_of_a_file_does_not_wait(load: Any, src: Path) -> None:
    file = src / (DIFF_IDS[1].split(":")[1] + ".tar")
    file.unlink()
    os.mkfifo(file)
    assert "is no regular file" in load()["msg"]


@pytest.mark.parametrize("kind", ["others may write", "a link", "gone"])
def test_a_directory_of_somebody_else(kind: str, load: Any, src: Path, docker: StandIn) -> None:
    if kind == "others may write":
        src.chmod(0o777)
    else:
        src.rename(src.with_name("elsewhere"))
    if kind == "a link":
        src.symlink_to(src.with_name("elsewhere"))
    assert str(src) in load()["msg"]
    assert docker.calls("load") == []


def test_the_layers_may_come_with_the_task(load: Any, docker: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = log_of_host(monkeypatch)
    content = base64.b64encode(LAYERS[1]).decode()
    result = load(src=None, layers=[shipped(LAYERS[1], content=content)])
    assert result["changed"] is True
    assert loaded(docker)[DIFF_IDS[1].split(":")[1] + ".tar"] == LAYERS[1]
    assert content not in json.dumps(result)
    assert logged == []


def test_a_layer_that_is_not_what_was_sent(load: Any, docker: StandIn, src: Path) -> None:
    file = src / (DIFF_IDS[1].split(":")[1] + ".tar")
    file.write_bytes(LAYERS[0])
    said = load()["msg"]
    assert said == f"A layer of trainer:1 did not arrive as it was sent ({file.name}, wrong checksum): run this again."
    # So that the next run sends it again.
    assert not file.exists()
    assert "did not arrive as it was sent" in load()["msg"]
    assert docker.calls("load") == []


@pytest.mark.parametrize(
    ("version", "unpacked"), [("20.10.24", True), ("22.0.0", True), ("23.0.0", False), ("26.1.5", False)]
)
def test_engines_before_23_get_layers_unpacked(
    version: str, unpacked: bool, load: Any, docker: StandIn, src: Path
) -> None:
    packed = subprocess.run(["zstd", "-q", "-c"], input=LAYERS[1], capture_output=True, check=True).stdout
    layer = shipped(LAYERS[1], packed)
    (src / layer["file"]).write_bytes(packed)
    engine(docker, {**OVERLAY, "ServerVersion": version})
    assert load(layers=[layer])["changed"] is True
    assert loaded(docker)[DIFF_IDS[1].split(":")[1] + ".tar"] == (LAYERS[1] if unpacked else packed)


TAGGED = "docker.io/library/trainer:1"
BLOB = "blobs/sha256/" + "0" * 64


def manifest(*names: str) -> str:
    return json.dumps([{"Config": BLOB, "RepoTags": list(names), "Layers": []}])


def index(**annotations: str) -> str:
    return json.dumps({"schemaVersion": 2, "manifests": [{"annotations": annotations}]})


# As an engine 29 writes it.
INDEX = index(**{"io.containerd.image.name": TAGGED, "org.opencontainers.image.ref.name": "1"})
WHOLE = {"oci-layout": '{"imageLayoutVersion":"1.0.0"}', "index.json": INDEX, "manifest.json": manifest("trainer:1")}


def saved_whole(*members: tuple[str, str], **kinds: bytes) -> bytes:
    """What docker save printed; `kinds` makes members something else than files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in members:
            info, content = tarfile.TarInfo(name), text.encode("utf-8", "surrogateescape")
            info.type = kinds.get(name, tarfile.REGTYPE)
            info.linkname = text if name in kinds else ""
            info.size = 0 if name in kinds else len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def load_whole(load: Any, docker: StandIn, src: Path) -> Any:
    def load_whole(archive: bytes, compressed: bool = False, info: Any = CONTAINERD) -> Any:
        packed = subprocess.run(["zstd", "-q", "-c"], input=archive, capture_output=True, check=True).stdout
        layer = shipped(archive, packed if compressed else None, diff_id="", chain="")
        (src / layer["file"]).write_bytes(packed if compressed else archive)
        # Under an ID that this engine gives it.
        engine(docker, info, id="sha256:" + "1" * 64)
        return load(layers=[layer], config="")

    return load_whole


@pytest.mark.parametrize("info", [CONTAINERD, OVERLAY])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_whole_image_is_loaded_with_all_that_is_in_it(
    compressed: bool, info: Any, load_whole: Any, docker: StandIn
) -> None:
    members = {"blobs": "", BLOB: "content", **WHOLE}
    archive = saved_whole(*members.items(), blobs=tarfile.DIRTYPE)
    assert load_whole(archive, compressed, info)["changed"] is True
    del members["blobs"]
    assert loaded(docker) == {name: text.encode() for name, text in members.items()}
    (tagged,) = docker.calls("image", "tag")
    assert tagged["argv"] == ["image", "tag", "trainer:1", "trainer:latest"]


@pytest.mark.parametrize(
    "changes",
    [
        {"index.json": None, "oci-layout": None},
        {"manifest.json": None},
        {"manifest.json": manifest("trainer:1", "docker.io/library/trainer")},
        {"manifest.json": manifest(), "index.json": '{"manifests": [{"annotations": null}, {}]}'},
        {"index.json": index(**{"org.opencontainers.image.ref.name": TAGGED})},
        {"repositories": '{"trainer": {"1": "x", "latest": "x"}}'},
    ],
    ids=str,
)
def test_a_whole_image_has_the_names_that_were_asked_for(changes: Any, load_whole: Any) -> None:
    members = {name: text for name, text in {**WHOLE, **changes}.items() if text is not None}
    assert load_whole(saved_whole(*members.items()))["changed"] is True


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"manifest.json": manifest("trainer:1", "registry:2")}, "'registry:2'"),
        ({"manifest.json": manifest("trainer:2")}, "'trainer:2'"),
        ({"manifest.json": manifest("evil.example/library/trainer:1")}, "'evil.example/library/trainer:1'"),
        ({"manifest.json": manifest("trainer:1\x1b[2J")}, r"'trainer:1\x1b[2J'"),
        ({"index.json": index(**{"io.containerd.image.name": "docker.io/library/registry:2"})}, "registry:2'"),
        ({"index.json": index(**{"org.opencontainers.image.ref.name": "registry:2"})}, "'registry:2'"),
        ({"index.json": index(**{"org.opencontainers.image.ref.name": "1"})}, "'1'"),
        (
            {"index.json": index(**{"io.containerd.image.name": TAGGED, "org.opencontainers.image.ref.name": "2"})},
            "'2'",
        ),
        ({"repositories": '{"registry": {"2": "x"}}'}, "'registry:2'"),
        ({"manifest.json": None, "index.json": None}, "neither manifest.json nor index.json"),
        (
            {"manifest.json": None, "index.json": None, "repositories": '{"trainer": {"1": "x"}}'},
            "neither manifest.json",
        ),
        *(
            ({"manifest.json": text}, "manifest.json is not as docker writes it")
            for text in ("", "{", "{}", "[1]", '[{"RepoTags": "x"}]', '[{"RepoTags": [1]}]', "[" * 100_000, "\udcff")
        ),
        *(
            ({"index.json": text}, "index.json is not as docker writes it")
            for text in ("[]", '{"manifests": {"a": 1}}', '{"manifests": [1]}', '{"manifests": [{"annotations": [1]}]}')
        ),
        ({"manifest.json": " " * (1 << 23)}, "manifest.json is larger than"),
        # Of two entries with one name, an engine may take either.
        ({"./manifest.json": manifest("registry:2")}, "holds manifest.json twice"),
        ({"blobs/../manifest.json": manifest("registry:2")}, "holds manifest.json twice"),
        ({"../../manifest.json": manifest("registry:2")}, "holds manifest.json twice"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_whole_image_that_names_another_is_refused(
    compressed: bool, changes: Any, said: str, load_whole: Any, docker: StandIn
) -> None:
    members = {name: text for name, text in {**WHOLE, **changes}.items() if text is not None}
    result = load_whole(saved_whole(*members.items()), compressed)
    assert said in result["msg"]
    assert docker.calls("load") == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("name", ["manifest.json", "x"])
def test_a_whole_image_holds_files_only(kind: bytes, name: str, load_whole: Any, docker: StandIn) -> None:
    archive = saved_whole(*{**WHOLE, name: BLOB}.items(), **{name: kind})
    assert f"{name!r}, which is neither a file nor a directory" in load_whole(archive)["msg"]
    assert docker.calls("load") == []


@pytest.mark.parametrize(
    "archive",
    [b"", b"no archive", gzip.compress(saved_whole(*WHOLE.items()))],
    ids=["empty", "no archive", "compressed"],
)
def test_a_whole_image_that_cannot_be_read_is_refused(archive: bytes, load_whole: Any, docker: StandIn) -> None:
    assert load_whole(archive)["failed"] is True
    assert docker.calls("load") == []


def test_what_stands_behind_the_end_of_an_archive_is_not_loaded(load_whole: Any, docker: StandIn) -> None:
    """Other readers than the one that has looked at it may go on there."""
    plain, evil = saved_whole(*WHOLE.items()), saved_whole(("manifest.json", manifest("registry:2")))
    assert load_whole(plain + evil)["changed"] is True
    (call,) = docker.calls("load")
    assert b"registry:2" not in call["stdin"]


def test_a_whole_image_has_few_files(load_whole: Any, docker: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_loading, "MEMBERS", 3)
    assert load_whole(saved_whole(*WHOLE.items()))["changed"] is True
    assert "more than 3 files" in load_whole(saved_whole((BLOB, ""), *WHOLE.items()))["msg"]


def test_an_image_that_became_another(load: Any, docker: StandIn) -> None:
    other = "sha256:" + "1" * 64
    engine(docker, OVERLAY, id=other)
    said = load()["msg"]
    assert said == f"The image trainer:1 could not be loaded: it became {other} instead of {ID}. Run this again."
    # An engine with containerd gives it an ID of its own, and then its layers must be the same.
    engine(docker, CONTAINERD, id=other)
    assert load()["changed"] is True
    assert "it became" in load(diff_ids=DIFF_IDS[1:])["msg"]


def test_an_engine_that_says_why_it_does_not_answer(docker: StandIn, load: Any) -> None:
    engine(docker, {"ServerErrors": ["Cannot connect"]})
    assert load()["msg"] == "The image trainer:1 could not be loaded: Cannot connect. Run this again."


@pytest.mark.parametrize("full", ["no space left on device", "No space left on device"])
def test_a_full_disk(full: str, load: Any, docker: StandIn) -> None:
    words = f"Error processing tar file(exit status 1): write /x: {full}"
    engine(docker, OVERLAY, load=(f"Loading...\n{words}\n", 1))
    said = load()["msg"]
    assert said.startswith("The disk that docker keeps its images on is full: free some space and run this again")
    assert words in said


def test_what_docker_says_is_shown_without_control_characters(load: Any, docker: StandIn) -> None:
    engine(docker, OVERLAY, load=("Error: \x1b]52;c;ZXZpbA==\x07unexpected EOF\n", 1))
    assert load()["msg"] == "The image trainer:1 could not be loaded: Error: unexpected EOF. Run this again."


def test_what_is_long_is_not_in_the_result(load: Any) -> None:
    shown = load()["invocation"]["module_args"]
    assert shown["ref"] == "trainer:1"
    assert not {"layers", "config"} & set(shown)


def test_nothing_is_loaded_in_check_mode(load: Any, docker: StandIn) -> None:
    assert load(_ansible_check_mode=True)["skipped"] is True
    assert docker.calls() == []


def test_docker_is_asked_to_load_quietly(load: Any, docker: StandIn) -> None:
    load()
    assert docker.calls("load")[0]["argv"] == ["load", "--quiet"]
    # It has its tags by the archive.
    assert docker.calls("image", "tag") == []


def test_a_layer_that_is_shorter_than_was_said(load: Any) -> None:
    layer = shipped(LAYERS[1])
    said = load(layers=[{**layer, "bytes": layer["bytes"] + 1, "size": layer["size"] + 1}])["msg"]
    assert said == "The image trainer:1 could not be loaded: unexpected end of data. Run this again."


def test_an_engine_with_containerd_gets_layers_unpacked(load: Any, docker: StandIn, src: Path) -> None:
    packed = subprocess.run(["zstd", "-q", "-c"], input=LAYERS[1], capture_output=True, check=True).stdout
    layer = shipped(LAYERS[1], packed)
    (src / layer["file"]).write_bytes(packed)
    engine(docker, CONTAINERD)
    assert load(layers=[layer])["changed"] is True
    assert loaded(docker)[DIFF_IDS[1].split(":")[1] + ".tar"] == LAYERS[1]


def test_a_directory_in_which_others_write_is_to_be_removed(load: Any, src: Path) -> None:
    src.chmod(0o777)
    said = load()["msg"]
    assert (
        said == f"The layers of trainer:1 are not safe there: others may write to {src}. Remove it, and run this again."
    )


@pytest.mark.parametrize("whole", ["", "whole.tar"])
def test_docker_that_gives_up_says_why(whole: str, tmp_path: Path) -> None:
    """And not that a pipe broke, which it did."""
    (tmp_path / "whole.tar").write_bytes(tar(bytes(1 << 20)))
    config = base64.b64encode(bytes(1 << 20)).decode()
    params = {"id": ID, "ref": "trainer:1", "tags": [], "diff_ids": [], "config": config, "layers": []}
    for script, said in (
        ("exec <&-; echo first >&2; echo last; exit 1", "last"),
        ("exec <&-; exit 3", "docker load: exit code 3"),
    ):
        with pytest.raises(image_loading.DockerError) as caught:
            image_loading.load(["sh", "-c", script], params, tmp_path, whole, unpacked=True)
        assert str(caught.value) == said


@pytest.mark.parametrize("missing", ["ref", "id", "config", "diff_ids", "layers"])
def test_what_a_load_needs(missing: str, load: Any, docker: StandIn) -> None:
    assert load(**{missing: None})["msg"] == f"missing required arguments: {missing}"
    assert docker.calls() == []

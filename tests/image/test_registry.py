"""The image through a registry: one that the swarm runs, and one that exists, with a CA and a login of its own."""

import json
import time

import registries
from conftest import HOSTS, SECRET, Images, left_behind

OWN = "ddp-registry_registry"


def address(images: Images) -> str:
    return images.lab.on("host1", "docker", "info", "--format", "{{.Swarm.NodeAddr}}").strip()


def test_check_mode_foretells_and_changes_nothing(images: Images) -> None:
    for host in HOSTS:
        images.forget(host)
    images.write("one")
    run = images.play(options="--check --diff", **images.registry)
    assert run.rc == 0, run.stdout[-4000:]
    assert [row for row in run.changed() if "Report in check mode" in row] == run.changed()
    assert len(run.changed()) == len(HOSTS)
    assert images.lab.on("host1", "docker", "service", "ls", "--quiet") == ""


def test_built_once_pushed_and_pulled(images: Images) -> None:
    run = images.have("one", options="-vvv", **images.registry)
    assert [row for row in run.changed() if "Build my-ddp-trainer" in row] != []
    assert len([row for row in run.changed() if "Build my-ddp-trainer" in row]) == 1
    again = images.play(**images.registry)
    assert (again.rc, again.changed()) == (0, [])
    client_key = images.lab.on("host1", "sed", "-n", "2p", "/etc/ddp-swarm/registry/client.key").strip()
    assert len(client_key) > 40
    assert left_behind(images.lab.directory, client_key) == []


def test_nobody_gets_in_without_a_certificate(images: Images) -> None:
    host = f"{address(images)}:5000"
    images.lab.on("host3", "mv", f"/etc/docker/certs.d/{host}/client.key", "/root/")
    images.lab.on("host3", "mv", f"/etc/docker/certs.d/{host}/client.cert", "/root/")
    tag = images.ref()
    said = images.lab.on("host3", "sh", "-c", f"docker pull {host}/{tag} 2>&1", check=False)
    assert "certificate" in said
    images.lab.on("host3", "sh", "-c", f"mv /root/client.* /etc/docker/certs.d/{host}/; docker pull {host}/{tag}")
    images.lab.on("host3", "docker", "image", "rm", f"{host}/{tag}")


def test_a_worker_that_lacks_it_pulls_it_alone(images: Images) -> None:
    images.forget("host3")
    run = images.play(limit="host3", **images.registry)
    assert run.rc == 0, run.stdout[-4000:]
    assert [row for row in run.changed() if "Build" in row or "Push" in row] == []
    images.are_the_same("one")


def test_only_what_changed_travels(images: Images) -> None:
    before = images.received("host3")
    began = time.monotonic()
    images.have("two", **images.registry)
    print(f"{time.monotonic() - began:.0f} s, {(images.received('host3') - before) / 1e6:.1f} MB")
    assert images.received("host3") - before < 3e6


def test_a_registry_that_was_stopped_or_removed_comes_back(images: Images) -> None:
    for command in (["docker", "service", "scale", "--detach", f"{OWN}=0"], ["docker", "stack", "rm", "ddp-registry"]):
        images.lab.on("host1", *command)
        images.forget("host2")
        run = images.play(limit="host2", **images.registry)
        assert run.rc == 0, run.stdout[-4000:]
        images.are_the_same("two")


def test_the_same_base_on_every_host_though_its_tag_has_moved(images: Images) -> None:
    base = f"{address(images)}:5000/base:1"
    settings = {"image_distribution": "build", "image_base": base, "image_base_archive": ""}

    def put(host: str, text: str) -> None:
        recipe = f"FROM my-ddp-trainer:latest\nRUN echo {text} >/which"
        images.lab.on(host, "sh", "-c", f"echo '{recipe}' | docker build --tag {base} - && docker push {base}")
        images.lab.on(host, "docker", "image", "rm", base)
        images.lab.on(host, "rm", "-rf", "/root/.docker")  # which BuildKit makes

    put("host2", "first")
    images.write("on its base")
    alone = images.play(limit="host3", **settings)
    assert alone.rc == 0, alone.stdout[-4000:]
    put("host2", "second")
    for limit in ("host1", None):
        run = images.play(limit=limit, **settings)
        assert run.rc == 0, run.stdout[-4000:]
    for host in HOSTS:
        assert images.lab.on(host, "docker", "run", "--rm", images.ref(), "cat", "/which").strip() == "first"
        images.lab.on(host, "docker", "image", "rm", base)
        images.lab.on(host, "rm", "-rf", "/root/.docker")


def test_one_that_exists(images: Images) -> None:
    """With its own CA, and a login."""
    lab, host = images.lab, f"{address(images)}:5443"
    lab.on(
        "host2", "sh", "-c",
        f"mkdir -p /srv/registry && cd /srv/registry && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=registry "
        f"-addext subjectAltName=IP:{address(images)} -keyout key.pem -out cert.pem && "
        f"python3 -c \"import crypt; print('trainer:' + crypt.crypt('{SECRET}', crypt.mksalt(crypt.METHOD_BLOWFISH)))\" >users",
    )  # fmt: skip
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}},
        "http": {"addr": host, "tls": {"certificate": "/srv/registry/cert.pem", "key": "/srv/registry/key.pem"}},
        "auth": {"htpasswd": {"realm": "registry", "path": "/srv/registry/users"}},
    }
    files = {name: lab.on("host2", "cat", f"/srv/registry/{name}") for name in ("key.pem", "cert.pem", "users")}
    lab.on("host1", "mkdir", "-p", "/srv/registry")
    for name, text in {**files, "settings.yml": json.dumps(settings)}.items():
        lab.on("host1", "sh", "-c", f"cat >/srv/registry/{name} <<'END'\n{text}\nEND")
    lab.on(
        "host1", "docker", "run", "--detach", "--name", "registry", "--network", "host",
        "--volume", "/srv/registry:/srv/registry:ro", registries.NAME, "serve", "/srv/registry/settings.yml",
    )  # fmt: skip
    ca = lab.directory / "ca.crt"
    ca.write_text(files["cert.pem"])
    existing = {
        "image_distribution": "registry", "image_registry": f"{host}/team", "image_registry_ca": str(ca),
        "image_registry_username": "trainer", "image_registry_password": SECRET,
    }  # fmt: skip

    images.have("three", options="-vvv", **existing)
    assert left_behind(lab.directory, SECRET) == []
    for name in HOSTS:
        assert lab.on(name, "sh", "-c", "ls -d /root/.docker /run/ddp-swarm-login 2>/dev/null || true") == ""
    again = images.play(**existing)
    assert (again.rc, again.changed()) == (0, [])

    images.forget("host3")
    refused = images.play(limit="host3", **existing | {"image_registry_password": "wrong"})
    assert refused.rc != 0
    assert f"host3 did not get {images.ref()}" in refused.failure()
    assert "401" in refused.failure()

    distrusted = images.play(limit="host3", **existing | {"image_registry": f"{host.replace('5443', '5444')}/team"})
    assert distrusted.rc != 0
    assert "connection refused" in distrusted.failure()

    lab.on("host1", "docker", "stop", "registry")
    down = images.play(limit="host3", **existing)
    assert down.rc != 0
    assert "host3 did not get my-ddp-trainer:" in down.failure()
    assert host in down.failure()
    assert "connection refused" in down.failure()
    print(down.failure())
    assert images.tags("host3") == set()
    lab.on("host1", "docker", "start", "registry")
    mended = images.play(limit="host3", **existing)
    assert mended.rc == 0, mended.stdout[-4000:]
    images.are_the_same("three")
    lab.on("host1", "docker", "rm", "--force", "registry")

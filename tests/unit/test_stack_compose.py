"""From what a user wrote to what swarm is told."""

import json
import sys

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import prepare as real_prepare
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import service_view
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.interpolate import interpolate
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.refusals import (
    KNOWN_DEPLOY_KEYS,
    KNOWN_SERVICE_KEYS,
    REFUSED_SERVICE_KEYS,
)
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.shapes import SECTIONS, ComposeError
from ansible_collections.ddp.swarm.plugins.module_utils.stack.plan import endless_services


class TestCompose:
    def prepare(self, *sources, environment=None, **options):
        return real_prepare(list(sources), "demo", environment or {}, **options)

    def service(self, **keys):
        return {"services": {"s": {"image": "i", **keys}}}

    def test_nothing_but_a_compose_error(self):
        """Whatever is wrong with a definition is said in a sentence, not in a traceback."""
        keys = [*KNOWN_SERVICE_KEYS, *REFUSED_SERVICE_KEYS]
        for value in ("x", 1, True, [], {}, ["x"], [1], [None], [[]], {"x": 1}, {"x": None}, {"x": {"y": []}}):
            definitions = [self.service(**{key: value}) for key in keys]
            definitions += [self.service(deploy={key: value}) for key in KNOWN_DEPLOY_KEYS]
            definitions += [{**self.service(networks=["x"], configs=["x"]), section: value} for section in SECTIONS]
            definitions += [
                {**self.service(**{section: ["x"]}), section: {"x": value}}
                for section in ("networks", "configs", "secrets")
            ]
            for compose in definitions:
                for strict in (True, False):
                    try:
                        prepared = self.prepare(compose, strict=strict)
                    except ComposeError:
                        continue
                    endless_services(prepared.definition)
                    [service_view(prepared.definition, name) for name in prepared.definition["services"]]

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("${A}-$A", "1-1"),
            # A default goes to the next }, with braces and without.
            ("$A-${A}", "1}"),
            ("$B-x", "x"),
            ("${A:?must-be}", "be"),
            ("$$A", "$A"),
            ("${B:-x}", "x"),
            ("${E-x}", ""),
            ("${E:-x}", "x"),
            ("${A:+y}", "y"),
            ("${B+y}", ""),
            ("$B", ""),
        ],
    )
    def test_interpolation(self, text, value):
        assert interpolate(text, {"A": "1", "E": ""}, []) == value

    @pytest.mark.parametrize("text", ["${A", "$1", "${B:?must be}"])
    def test_bad_interpolation(self, text):
        with pytest.raises(ComposeError):
            interpolate(text, {"A": "1"}, [])

    def test_unset_variables_are_told(self):
        prepared = self.prepare(self.service(hostname="$NOPE"))
        assert "the variable NOPE is not set" in prepared.warnings[0]

    def test_contents_are_not_interpolated(self):
        compose = {**self.service(configs=["c"]), "configs": {"c": {"content": "cost: $5"}}}
        assert self.prepare(compose).contents[0].data == b"cost: $5"

    def test_canonical_forms(self, tmp_path):
        (tmp_path / "e").write_text("# no\nX=1\n\nHOMELESS\nFROM\n")
        service = self.service(
            env_file=str(tmp_path / "e"), environment=["Y=2", "FROM2"], labels=["l=1"], deploy={"labels": ["m=1"]}
        )
        service["x-any"] = service["services"]["s"]["x-thing"] = 1
        made = self.prepare(service, environment={"FROM": "f", "FROM2": "g"}).definition["services"]["s"]
        assert made["environment"] == {"X": "1", "Y": "2", "FROM": "f", "FROM2": "g"}
        assert made["labels"] == {"l": "1"}
        assert made["deploy"] == {"labels": {"m": "1"}, "replicas": 1}
        assert "env_file" not in made
        assert "x-thing" not in made

    def test_booleans_and_numbers_become_text(self):
        service = self.service(environment={"T": True, "F": False, "N": 1, "Z": None})
        assert self.prepare(service).definition["services"]["s"]["environment"] == {
            "T": "true",
            "F": "false",
            "N": "1",
            "Z": None,
        }

    def test_global_services_have_no_replicas(self):
        made = self.prepare(self.service(deploy={"mode": "global"}))
        assert made.definition["services"]["s"]["deploy"] == {"mode": "global"}

    def test_only_what_is_used_is_kept(self):
        compose = {**self.service(volumes=["va:/v", "/h:/h", "/anonymous"]), "volumes": {"va": {}, "w": {}}}
        compose.update(configs={"c": {"content": ""}}, networks={"n": {}})
        made = self.prepare(compose)
        assert list(made.definition["volumes"]) == ["va"]
        assert list(made.definition["networks"]) == ["default"]
        assert made.contents == []

    @pytest.mark.parametrize(
        ("compose", "message"),
        [
            ({"services": []}, "services must be a mapping"),
            (
                {"services": {"s": {"image": "i", "configs": ["c"]}}, "configs": {"c": {"content": "\udcff"}}},
                "config c: content holds what is not UTF-8",
            ),
            ({"services": {"s": None}}, "has no image"),
            ({"services": {"s": "x"}}, 'services.s must be a mapping, and is "x"'),
            ({"services": {"s": {"image": 1}}}, "service s: image must be a text, and is 1"),
            ({"services": {"s": {"image": "i", "environment": "A=1"}}}, "environment must be a mapping or a list"),
            ({"services": {"s": {"image": "i", "networks": "n"}}}, "networks must be a mapping or a list"),
            ({"services": {"s": {"image": "i", "volumes": [3]}}}, "service s: volumes.0 must be a text or a mapping"),
            ({"services": {"s": {"image": "i", "env_file": [{"path": "x"}]}}}, "env_file.0 must be a text"),
            ({"services": {"s": {"image": "i", "deploy": {"resources": "x"}}}}, "deploy.resources must be a mapping"),
            ({"services": {"s": {"image": "i"}}, "networks": {"n": "x"}}, "networks.n must be a mapping"),
            ({"services": {"s": {"image": "i", "volumes": ["./x:/y"]}}}, "volumes: ./x is relative"),
            ({"services": {"s": {}}}, "has no image"),
            ({"services": {"s": {"image": "i", "networks": ["n"]}}}, "network n is used"),
            ({"services": {"s": {"image": "i", "volumes": ["va:/v"]}}}, "volume va is used"),
            ({"services": {"s": {"image": "i", "configs": ["c"]}}, "configs": {"c": {}}}, "needs exactly one of"),
            ({"services": {"s": {"image": "i", "configs": ["c"]}}, "configs": {"c": {"file": "x"}}}, "is relative"),
            (
                {"services": {"s": {"image": "i", "configs": ["c" * 60]}}, "configs": {"c" * 60: {"content": "x"}}},
                "longer than 64",
            ),
            ({"services": {"s": {"image": "i", "env_file": "/no/such"}}}, "cannot read env_file"),
            ({"services": {"s": {"image": "i", "tmpfs": "/x"}}}, "tmpfs has no effect: mount it"),
            ({"services": {"s": {"image": "i", "ports": ["127.0.0.1:80:80"]}}}, "swarm publishes on all addresses"),
            (
                {
                    "services": {"s": {"image": "i", "networks": {"n": {"ipv4_address": "192.0.2.1"}}}},
                    "networks": {"n": {}},
                },
                "networks.n.ipv4_address has no effect",
            ),
            ({"include": ["x"], "services": {}}, "include is not supported"),
            ({"services": {"s": {"image": "i", "nonsense": 1}}}, "nonsense is not a key"),
            ({"services": {"s": {"image": "i", "deploy": {"nonsense": 1}}}}, "deploy.nonsense is not a key"),
            (
                {"services": {"s": {"image": "i", "deploy": {"resources": {"reservations": {"devices": []}}}}}},
                "reservations.devices has no effect",
            ),
        ],
    )
    def test_mistakes(self, compose, message):
        with pytest.raises(ComposeError, match=message):
            self.prepare(compose)

    def test_every_key_that_docker_cli_drops_is_refused(self):
        """docker/cli cli/compose/types: UnsupportedProperties, DeprecatedProperties and ForbiddenProperties."""
        theirs = """build cgroupns_mode cgroup_parent devices domainname external_links ipc links mac_address network_mode
            pid privileged security_opt shm_size userns_mode container_name expose extends volume_driver
            volumes_from cpu_quota cpu_shares cpuset mem_limit memswap_limit""".split()  # noqa: SIM905
        assert set(theirs) <= set(REFUSED_SERVICE_KEYS)
        assert not KNOWN_SERVICE_KEYS & set(REFUSED_SERVICE_KEYS)

    def test_options_of_a_content_are_part_of_its_name(self):
        """Swarm cannot change them in place, as it cannot change the text."""

        def name(kind, **options):
            made = self.prepare({**self.service(**{f"{kind}s": ["c"]}), f"{kind}s": {"c": {"content": "x", **options}}})
            return made.contents[0].name

        for kind in ("config", "secret"):
            names = [name(kind), name(kind, labels={"l": "1"}), name(kind, labels={"l": "2"})]
            names += [name(kind, template_driver="golang"), name(kind, labels={"l": "1"}, template_driver="golang")]
            assert len(set(names)) == 5
            assert name(kind, labels={"a": "1", "b": "2"}) == name(kind, labels=["b=2", "a=1"])

    @pytest.mark.parametrize("kind", ["config", "secret"])
    def test_the_longest_name_of_a_content(self, kind):
        """64 characters with the name of the stack before it and the hash of the text behind it."""

        def prepare(key):
            return self.prepare({**self.service(**{f"{kind}s": [key]}), f"{kind}s": {key: {"content": "x"}}})

        fits = "c" * (64 - len("demo_") - len("_0123456789ab"))
        assert len(prepare(fits).contents[0].name) == 64
        with pytest.raises(ComposeError, match="would be longer than 64 characters"):
            prepare(fits + "c")

    @pytest.mark.parametrize("source", ["~/data", "~", "~other/data", "/data", "./data", "../data", "."])
    def test_paths_are_no_named_volumes(self, source, tmp_path):
        """They need no entry under volumes, and make none."""
        path = tmp_path / "stack.json"
        path.write_text(json.dumps(self.service(volumes=[f"{source}:/data"])))
        assert self.prepare(str(path)).definition["volumes"] == {}

    def test_the_first_file_says_where_relative_paths_begin(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "text").write_text(name)
        (tmp_path / "a" / "1.json").write_text(json.dumps(self.service(configs=["c"])))
        (tmp_path / "b" / "2.json").write_text(json.dumps({"configs": {"c": {"file": "text"}}}))
        sources = [{"services": {}}, str(tmp_path / "a" / "1.json"), str(tmp_path / "b" / "2.json")]
        prepared = self.prepare(*sources)
        assert prepared.directory == str(tmp_path / "a")
        assert prepared.contents[0].path == str(tmp_path / "a" / "text")

    def test_files(self, tmp_path):
        path = tmp_path / "stack.json"
        path.write_text(json.dumps({**self.service(configs=["c"]), "configs": {"c": {"file": "text"}}}))
        (tmp_path / "text").write_text("x")
        prepared = self.prepare(str(path))
        assert prepared.directory == str(tmp_path)
        assert prepared.contents[0].path == str(tmp_path / "text")

    def test_yaml_files(self, tmp_path):
        pytest.importorskip("yaml")
        path = tmp_path / "stack.yml"
        path.write_text("services: {s: {image: i}}")
        assert self.prepare(str(path)).definition["services"]["s"]["image"] == "i"
        path.write_text("services: {s: {image: i, ports: [22:22], labels: {day: '2025-01-01', n: 1.5}}}")
        service = self.prepare(str(path)).definition["services"]["s"]
        assert service["ports"] == [{"mode": "ingress", "target": 22, "published": 22, "protocol": "tcp"}]
        assert service["labels"] == {"day": "2025-01-01", "n": "1.5"}
        path.write_text("services: {s: {image: !!binary aGk=}}")
        with pytest.raises(ComposeError, match="JSON cannot express"):
            self.prepare(str(path))
        path.write_text("services: {s: [}")
        with pytest.raises(ComposeError, match="not valid YAML"):
            self.prepare(str(path))

    def test_yaml_without_pyyaml(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "yaml", None)
        monkeypatch.delitem(sys.modules, f"{interpolate.__module__.rpartition('.')[0]}.yaml_file", raising=False)
        path = tmp_path / "stack.yml"
        path.write_text("services: {s: {image: i}}")
        with pytest.raises(ComposeError, match="no PyYAML"):
            self.prepare(str(path))

    @pytest.mark.parametrize(
        ("source", "message"), [("/no/file", "cannot read"), ("a:\n b", "from_yaml"), (3, "takes mappings")]
    )
    def test_bad_sources(self, source, message):
        with pytest.raises(ComposeError, match=message):
            self.prepare(source)

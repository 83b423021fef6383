"""Stack files as docker reads them: the command `docker stack config` is the oracle, which needs no engine."""

import json
from pathlib import Path

import docker_oracle
import merge_rows
import pytest

CORPUS = Path(__file__).resolve().parents[1] / "compose"
ENVIRONMENT = {"APP": "web", "EMAIL": "me@example.org", "HOST_NAME": "host", "EMPTY": "filled", "NEW": "from here"}
FILES = sorted(path for path in CORPUS.glob("*/*.yml") if path.name in ("stack.yml", "base.yml"))

pytestmark = pytest.mark.skipif(not docker_oracle.command(), reason="no docker command here that knows `stack config`")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_a_file_means_what_it_means_to_docker(path):
    sources = [path, *([path.parent / "dev.yml"] if (path.parent / "dev.yml").exists() else [])]
    theirs, ours = docker_oracle.both(*sources, directory=path.parent, environment=ENVIRONMENT)
    assert ours == theirs


@pytest.mark.parametrize(
    ("key", "base", "extra", "merged"),
    merge_rows.ROWS + merge_rows.OBJECTS,
)
def test_the_table_of_merging_is_dockers(tmp_path, key, base, extra, merged):
    objects = (key, base, extra, merged) in merge_rows.OBJECTS
    parts = (merge_rows.object_pair if objects else merge_rows.pair)(key, base, extra)
    paths = []
    for number, part in enumerate(parts):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(part))
    theirs, ours = docker_oracle.both(*paths, directory=tmp_path, environment={})
    assert ours == theirs
    found, _said = docker_oracle.config(*paths, directory=tmp_path, environment={})
    if objects:
        assert (found[key]["o"] or {}) == merged
    elif key not in ("ports", "cap_add", "dns_search"):
        # Those the module sorts, or takes what stands twice out of.
        assert found["services"]["s"][key] == merged


# One line each of a service, which docker takes, with what else the file has to have.
LINES = [
    "environment: {A: yes, B: On, C: 0o440, D: 1_000, E: 0440, F: 1.10, G: 1e6, H: 2025-01-01, I: ~, J: '~', K: 22:22, L: 08}",
    'environment: {A: "\\U0001F389 party", B: "\\x85\\u2028\\x7f\\uFEFF\\ue000", C: "tab\\tnew\\nline\\r", \'ключ\': значение}',
    "environment: [A, B=, HOST_NAME, NEW=, 'C==', 'D=a b']",
    "command: a # b",
    'command: "run \'a b\'  \\"c \\\\ d\\" \\\\e f\\\\ g"',
    'command: "a #b\\nc"',
    "entrypoint: ''",
    "command: []",
    "healthcheck: {test: echo $$HOME, interval: 1h0.5m, timeout: 1500ms, start_period: 1.5us, retries: 2.0}",
    "stop_grace_period: 1h",
    "stop_grace_period: '0'",
    "ports: ['8000-8002:80', '53:53/udp', 99, '6000-6001:7000-7001/sctp', '0.0.0.0:1:1', 3000-3002]",
    "ports: [{target: '${PORT:-80}', published: '${PORT:-8080}'}, {target: 1}, {target: 2, mode: host, protocol: udp}]",
    "volumes: ['~/x:/y', './a/../b:/c:ro,z', 'v:/d', /e, '~', '/f:/g:rshared,nocopy', 'C:\\\\a:D:\\\\b', 'data:/h:nocopy']",
    "volumes: [{type: bind, source: ../x/, target: /y, bind: {propagation: shared}}, {type: tmpfs, target: /t, tmpfs: {size: 0}}]",
    "volumes: [{type: volume, source: data, target: /t, read_only: '${RO:-yes}', volume: {nocopy: '${RO:-Off}', subpath: a}}]",
    "extra_hosts: ['a=1', 'b:[::1]', c, 'd:host-gateway', 'e:f=g']",
    "extra_hosts: {b: '10.0.0.1', a: '[::1]'}",
    "ulimits: {nofile: {soft: '${S:-1}', hard: 2}, nproc: '${P:-0}', memlock: -1}",
    "deploy: {replicas: '${R:-2}', update_config: {max_failure_ratio: '${F:-0.1}'}, resources: {limits: {memory: 1.5 Gb}}}",
    "deploy: {resources: {limits: {memory: '512', cpus: '.5'}, reservations: {memory: 10KiB}}}",
    "deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: gpu, value: 2}}]}}}",
    "deploy: {update_config: {}, rollback_config: {}, restart_policy: {}, resources: {limits: {}}, placement: {}, labels: []}",
    "deploy: {labels: ['${APP}.a=${APP}', '$$x=$$y', 'no'], endpoint_mode: dnsrr, mode: global}",
    "deploy: ",
    "{restart: 'on-failure:3', user: '', hostname: '', tty: false, stdin_open: '${T:-y}', read_only: '${T:-N}'}",
    "{init: false, isolation: default, stop_signal: SIGINT, working_dir: /w, sysctls: {a: 1, b: }, cap_drop: [ALL], dns: []}",
    "{networks: {n: , m: {aliases: [a, b], driver_opts: {x: 1, y: 0.50}}}, labels: {a: , b: 1.0, c: ''}}",
    "{networks: [n, m], logging: {driver: json-file, options: {a: 1, b: }}, oom_score_adj: '${OOM:-100}'}",
    "{logging: {}, healthcheck: {}, credential_spec: {registry: a}, dns_search: a, x-any: {a: 1}}",
    "hostname: '$APP-web} ${APP:?must-be} ${NOT_SET-a:-b} ${EMPTY:-c} ${EMPTY-d} $NOT_SET:-e$$}f'",
    "configs: [c, {source: c, target: /c, uid: '1', gid: '', mode: '${M:-256}'}]",
    "secrets: [{source: c, mode: 0o444}]",
    "{<<: &base {user: a, tty: true}, user: b, labels: {<<: {a: 1, b: 2}, b: 3}}",
    "labels: {a: 'x: y', b: '# no', c: '!!str x', d: '*', e: '%', f: ' blank ', g: 'null', h: 'true', i: '1', j: '1.0', k: '0o1'}",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_means_what_it_means_to_docker(tmp_path, line):
    service = line if line.startswith("{") else f"{{{line}}}"
    (tmp_path / "stack.yml").write_text(
        "services:\n  s:\n    <<: {image: 'i:${TAG:-1}'}\n    " + service[1:-1].replace("\n", "\n    ") + "\n"
        if not line.startswith("{")
        else f"x-s: &s {line}\nservices:\n  s:\n    <<: *s\n    image: i\n",
    )
    with (tmp_path / "stack.yml").open("a") as stream:
        stream.write(
            "networks: {n: {external: '${EXT:-false}'}, m: {internal: '${T:-y}', name: '${APP}', labels: [a]}}\n"
        )
        stream.write("volumes: {data: {driver: x, driver_opts: {a: 1}, labels: {b: }}, v: }\n")
        stream.write("configs: {c: {external: {name: other}}}\nsecrets: {c: {external: true}}\n")
    theirs, ours = docker_oracle.both(tmp_path / "stack.yml", directory=tmp_path, environment=ENVIRONMENT)
    assert ours == theirs

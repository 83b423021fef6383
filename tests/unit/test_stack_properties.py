"""Stack files that nobody thought of: docker's command and the module must read them alike, and no file may break the module."""

import json
import tempfile
from pathlib import Path

import docker_oracle
import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.canonical import prepare, service_view
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.fields import OBJECTS, SERVICE
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.shapes import ComposeError
from ansible_collections.ddp.swarm.plugins.module_utils.stack.compose.values import plain_scalar, text_of

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

bounded = settings(
    # To make an example smaller takes minutes.
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
oracle = pytest.mark.skipif(not docker_oracle.command(), reason="no docker command here that knows `stack config`")
ENVIRONMENT = {"SET": "set", "NUMBER": "3", "YES": "yes", "EMPTY": "", "b": "from here"}

# Texts


def named(*names):
    return st.sampled_from(names)


word = st.text("abXY01-_./:= '\"\\#{}[]&*!|>%@`,?~é\u2028\x85\ufeff🎉\t\n", max_size=8)
variables = named(
    "$SET",
    "${SET}x",
    "${NOT:-d}",
    "${NOT-}",
    "${EMPTY:-e}",
    "${EMPTY-e}",
    "$$x",
    "${SET?}",
    "$SET-z",
    "${SET:-a-b}",
    "$NOT",
)
text = word | variables | st.tuples(word, variables, word).map("".join)
# With more than one thing amiss in a text, docker forgets all but the last: "$ ${SET}" is one that it takes, and the module does not.
key = st.text("abXY01-_./é ", min_size=1, max_size=4).filter(lambda name: name.strip())
number = st.integers(0, 5)
count = number | named("${NUMBER}", "${NOT:-4}")
switch = st.booleans() | named("${YES}", "${NOT:-off}")
scalar = text | number | st.none() | named(1.0, 0.25, 1e6, 1e-5, 123456789.5, True)
duration = named("0s", "90s", "1h", "1.5m", "250ms", "1h0m3s", "1500us")
size = named("0", "64M", "1.5gb", "100 kib", "7b", "1000000")


def fields(**kinds):
    return st.fixed_dictionaries({}, optional=kinds)


def mapping(values=scalar):
    pairs = st.tuples(key, text).map("=".join)
    return st.dictionaries(key | named("$", "$SET"), values, max_size=3) | st.lists(
        pairs | key | variables, unique=True, max_size=3
    )


def options():
    return st.dictionaries(key, text | number, max_size=2)


def texts(*items):
    return st.lists(named(*items), max_size=3, unique=True)


published = named(0, 80, 443, 8000)
port = named("80", "80:80", "8000-8001:80", "443:443/udp", "80-81:80-81", 443) | fields(
    mode=named("host", "ingress"), target=count, published=published, protocol=named("tcp", "udp")
)
how = {
    "target": named("/a", "/b", "/c"),
    "read_only": switch,
    "bind": fields(propagation=named("shared")),
    "volume": fields(nocopy=switch),
    "tmpfs": fields(size=number),
}
mount = (
    named("/a", "data:/a", "data:/b:ro", "/h:/b", "./h:/c:rslave", "~/h:/d", "v:/d", "data:/c:nocopy")
    | st.fixed_dictionaries({"type": named("volume")}, optional={"source": named("data"), **how})
    | st.fixed_dictionaries({"type": named("bind", "tmpfs")}, optional={"source": named("/h", "../h"), **how})
)
reference = named("c", "e") | st.fixed_dictionaries(
    {"source": named("c", "e")}, optional={"target": text, "uid": text, "gid": named("", "1"), "mode": count}
)
policy = fields(condition=named("any", "none"), delay=duration, max_attempts=count, window=duration)
update = fields(
    parallelism=count,
    delay=duration,
    failure_action=named("pause", "rollback"),
    monitor=duration,
    max_failure_ratio=named(0, 0.5, "${NOT:-0.25}"),
    order=named("start-first"),
)
limits = fields(cpus=named("0.50", "1"), memory=size, pids=number)
reservations = fields(
    cpus=named("1"),
    memory=size,
    generic_resources=st.lists(
        st.fixed_dictionaries({"discrete_resource_spec": fields(kind=named("gpu"), value=number)}), max_size=2
    ),
)
deploy = fields(
    mode=named("replicated", "global", "replicated-job"),
    endpoint_mode=named("vip", "dnsrr"),
    replicas=count,
    labels=mapping(),
    update_config=update,
    rollback_config=update,
    resources=fields(limits=limits, reservations=reservations),
    restart_policy=policy,
    placement=fields(
        constraints=st.lists(text, max_size=2),
        preferences=st.lists(fields(spread=text), max_size=2),
        max_replicas_per_node=count,
    ),
)
networks = texts("n", "m") | st.dictionaries(
    named("n", "m"), st.none() | fields(aliases=texts("x", "y"), driver_opts=options()), max_size=2
)
ulimit = st.integers(-1, 3) | named("${NUMBER}") | st.fixed_dictionaries({"soft": count, "hard": count})
commands = named("a b", "a 'b c'  d", 'x "y \\" z" #', "# only", "a\\ b", "") | st.lists(text, max_size=3)
service = fields(
    cap_add=texts("A", "B"),
    cap_drop=texts("ALL"),
    command=commands,
    configs=st.lists(reference, max_size=3),
    credential_spec=fields(file=text, registry=text),
    deploy=deploy | st.none(),
    dns=texts("10.0.0.1", "10.0.0.2") | named("10.0.0.3"),
    dns_search=texts("a", "b") | named("c"),
    entrypoint=commands,
    environment=mapping(text | number | st.none() | named(1.5)),
    extra_hosts=texts("a:1.1.1.1", "b=[::1]", "c")
    | st.dictionaries(named("a", "a-b"), named("1.1.1.1", "[::2]"), max_size=2),
    healthcheck=fields(
        test=text | st.lists(text, max_size=2),
        interval=duration,
        timeout=duration,
        start_period=duration,
        start_interval=duration,
        retries=count,
        disable=switch,
    ),
    hostname=text,
    init=st.booleans(),
    isolation=text,
    labels=mapping(text | number | st.none() | named(1.5, 1e6)),
    logging=fields(driver=named("", "local", "syslog"), options=options()),
    networks=networks,
    oom_score_adj=count,
    ports=st.lists(port, max_size=3),
    read_only=switch,
    secrets=st.lists(reference, max_size=3),
    stdin_open=switch,
    stop_grace_period=duration,
    stop_signal=text,
    sysctls=mapping(text | number),
    tty=switch,
    ulimits=st.dictionaries(named("nofile", "nproc"), ulimit, max_size=2),
    user=text,
    volumes=st.lists(mount, max_size=3),
    working_dir=text,
)
external = st.booleans() | named("${YES}", "${NOT:-no}") | fields(name=named("other"))
network = st.none() | fields(
    name=named("name"),
    driver=named("overlay"),
    driver_opts=options(),
    external=external,
    internal=switch,
    attachable=switch,
    labels=mapping(text | number | st.none()),
    ipam=fields(driver=text, config=st.lists(fields(subnet=named("10.0.0.0/24")), max_size=2)),
)
volume = st.none() | fields(
    name=named("name"), driver=named("x"), driver_opts=options(), external=external, labels=mapping(text | st.none())
)
definition = st.fixed_dictionaries(
    {
        "services": st.fixed_dictionaries(
            {"s": st.builds(lambda keys, image: {"image": image, **keys}, service, named("i", "j:${SET}"))}
        ),
        "networks": st.fixed_dictionaries({"n": network, "m": network}),
        "volumes": st.fixed_dictionaries({"data": volume}),
        "configs": st.just({"c": {"external": True}, "e": {"external": {"name": "o"}}}),
        "secrets": st.just({"c": {"external": True}, "e": {"external": True, "name": "o"}}),
    }
)


def read_alike(*definitions):
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{number}.json" for number, _part in enumerate(definitions)]
        for path, part in zip(paths, definitions, strict=True):
            path.write_text(docker_oracle.as_yaml(part), newline="")
        _found, said = docker_oracle.config(*paths, directory=Path(name), environment=ENVIRONMENT)
        assume(not said)
        theirs, ours = docker_oracle.both(*paths, directory=Path(name), environment=ENVIRONMENT)
        assert ours == theirs


@oracle
@settings(bounded, max_examples=60)
@given(definition)
def test_what_docker_takes_is_sent_so_that_it_comes_out_the_same(part):
    read_alike(part)


@oracle
@settings(bounded, max_examples=60)
@given(definition, definition)
def test_two_definitions_are_merged_as_docker_merges_them(base, extra):
    read_alike(base, extra)


@oracle
@settings(bounded, max_examples=15)
@given(st.lists(st.text("0123456789_.-+eExXoObBaAfFnNtTyY:~ul", min_size=1, max_size=9), min_size=60, max_size=60))
def test_plain_scalars_are_what_they_are_to_docker(scalars):
    # These are more than a scalar, or what docker itself cannot go on with.
    scalars = [
        scalar for scalar in scalars if ":" not in scalar[-1:] and not scalar.lstrip("+-").lower() in (".nan", ".inf")
    ]
    scalars = [scalar for scalar in scalars if scalar not in ("-", "--", "---") and not scalar.startswith(("- ", "? "))]
    lines = "".join(f"      k{number}: {scalar}\n" for number, scalar in enumerate(scalars))
    given_text = f"services:\n  s:\n    image: i\n    sysctls:\n{lines}"
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "f").write_text(given_text)
        found, said = docker_oracle.config(Path(name) / "f", directory=Path(name), environment={})
    if said:
        # A true or false has no text in docker: each on its own.
        assert "must be a string, number or null" in said
        return
    assert list(found["services"]["s"]["sysctls"].values()) != []
    assert {key: text_of(plain_scalar(scalars[int(key[1:])])) for key in found["services"]["s"]["sysctls"]} == (
        found["services"]["s"]["sysctls"]
    )


anything = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(key, inner, max_size=2), max_leaves=6
)
messy = st.fixed_dictionaries(
    {},
    optional={
        "services": st.dictionaries(
            key, st.dictionaries(named(*SERVICE.fields), anything, max_size=3) | anything, max_size=2
        )
        | anything,
        **{
            section: st.dictionaries(key, anything, max_size=2) | anything
            for section in (*OBJECTS, "name", "version", "x-a")
        },
    },
)


@settings(bounded, max_examples=250)
@given(messy | st.lists(messy, min_size=2, max_size=2), st.booleans())
def test_whatever_is_given_is_answered_by_a_sentence(parts, strict):
    try:
        prepared = prepare(parts if isinstance(parts, list) else [parts], "demo", ENVIRONMENT, strict=strict)
    except ComposeError as error:
        assert str(error)
        return
    [service_view(prepared.definition, name) for name in prepared.definition["services"]]
    json.loads(docker_oracle.as_sent(prepared.definition))


@settings(bounded, max_examples=60)
@given(definition, definition)
def test_what_was_sent_is_read_again_as_it_is(base, extra):
    """Otherwise a stack would be found changed that is not."""
    try:
        first = prepare([base, extra], "demo", {**ENVIRONMENT, "b": ""}).definition
    except ComposeError:
        return
    sent = json.loads(docker_oracle.as_sent(first))
    assert prepare([sent], "demo", {}).definition == first

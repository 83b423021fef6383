"""The module swarm_stack, called as users call it: by ansible, over SSH, with become, and in check mode first."""

import json
import os
import subprocess
from typing import Any

from labs import Lab

Compose = dict[str, Any]

LABEL = "--filter label=com.docker.stack.namespace="
# All of a stack that a module could change, without what swarm itself counts up.
SNAPSHOT = """docker service ls -q LABEL | xargs -r docker service inspect --format '{{json .Spec}}' | sort
for kind in network config secret; do docker $kind ls -q LABEL | sort; done"""


class Manager:
    """A host on which the module is called."""

    def __init__(self, lab: Lab, host: str) -> None:
        self.lab = lab
        self.host = host

    def docker(self, command: str, host: str | None = None, check: bool = True) -> str:
        return self.lab.on(host or self.host, "sh", "-c", f"docker {command}", check=check).strip()

    def ansible(self, *command: str, **environment: str) -> str:
        done = subprocess.run(
            [*command, "-i", str(self.lab.inventory), "--diff"],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )
        return done.stdout

    def results(self, *command: str) -> list[dict[str, Any]]:
        """Of each task that ran."""
        out = self.ansible(*command, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json", ANSIBLE_LOAD_CALLBACK_PLUGINS="1")
        (play,) = json.loads(out[out.index("{") :])["plays"]
        found = [task["hosts"][self.host] for task in play["tasks"]]
        for result in found:
            assert "module_stdout" not in result, result["module_stdout"]
        return found

    def call(self, module: str = "swarm_stack", check: bool = False, **args: Any) -> dict[str, Any]:
        options = ["--check"] if check else []
        (result,) = self.results("ansible", self.host, "--become", "-m", module, "-a", json.dumps(args), *options)
        return result

    def play(self, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
        """Several tasks at once, which is faster. One that fails does not keep the next from running."""
        path = self.lab.directory / "tasks.json"
        common = {"hosts": self.host, "become": True, "gather_facts": False, "ignore_errors": True}
        path.write_text(json.dumps([{**common, "tasks": tasks}]))
        return self.results("ansible-playbook", str(path))

    def apply(self, name: str, *compose: Any, **args: Any) -> dict[str, Any]:
        """In check mode first: that changes nothing, and what it predicts is what happens then."""
        args["name"] = name
        if compose:
            args.update(compose=list(compose), stability_period=args.get("stability_period", 1))
        look = {"ansible.builtin.shell": "{% raw %}" + SNAPSHOT.replace("LABEL", LABEL + name) + "{% endraw %}"}
        before, predicted, after, made = self.play(
            look, {"swarm_stack": args, "check_mode": True}, look, {"swarm_stack": args}
        )
        assert after["stdout"] == before["stdout"]
        for key in ("actions", "changed", "diff"):
            assert made.get(key) == predicted.get(key), (key, predicted, made)
        return made

    def fail(self, name: str, *compose: Any, **args: Any) -> dict[str, Any]:
        made = self.apply(name, *compose, **args)
        assert made.get("failed"), made
        return made

    def succeed(self, name: str, *compose: Any, **args: Any) -> dict[str, Any]:
        args.setdefault("stability_period", 0)
        made = self.apply(name, *compose, **args)
        assert not made.get("failed"), made["msg"]
        return made

    def remove(self, name: str) -> dict[str, Any]:
        made = self.succeed(name, state="absent")
        assert self.left_of(name) == ""
        return made

    def left_of(self, name: str) -> str:
        """Everything of a stack that is anywhere in the swarm."""
        label = LABEL + name
        left = [self.docker(f"{kind} ls -q {label}") for kind in ("service", "network", "config", "secret")]
        left.append(self.docker(f"ps -aq {label}"))
        # The other host removes its containers a moment after the manager has forgotten their tasks.
        other = "host2" if self.host == "host1" else "host1"
        gone = (
            f'for i in $(seq 20); do test -z "$(docker ps -aq {label})" && exit; sleep 0.5; done; docker ps -a {label}'
        )
        left.append(self.lab.on(other, "sh", "-c", gone))
        return "\n".join(left).strip()


def service(command: str = "sleep 1000", on: str | None = None, **keys: Any) -> dict[str, Any]:
    """A service of one shell command, on a host by name, that is not started again."""
    deploy: dict[str, Any] = {"restart_policy": {"condition": "none"}}
    if on:
        deploy["placement"] = {"constraints": [f"node.hostname == {on}"]}
    deploy.update(keys.pop("deploy", {}))
    return {
        "image": "shell:1",
        "command": ["sh", "-c", command],
        "stop_signal": "SIGKILL",
        "deploy": deploy,
        **keys,
    }


def two(first: str | None = None, second: str | None = None, **keys: Any) -> Compose:
    """One service on each host."""
    return {
        "services": {
            "a": service(first or "sleep 1000", on="host1", **keys),
            "b": service(second or "sleep 1000", on="host2", **keys),
        }
    }

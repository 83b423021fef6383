"""An image that holds a shell and a few other programs, out of a host's own files: no registry, and nothing to build."""

from labs import Lab


def import_shell(lab: Lab, host: str, *tags: str, programs: str = "sh sleep cat") -> None:
    """Imports it on a host under these names, unless it is there."""
    lab.on(host, "sh", "-c", script(programs, *tags))


def script(programs: str, *tags: str) -> str:
    paths = " ".join(f"bin/{program}" for program in programs.split())
    return (
        f"set -e; docker image inspect {' '.join(tags)} >/dev/null 2>&1 && exit; cd /; "
        f"tar --dereference -cf - {paths} $(ldd {paths} | grep -o '/[^ ]*lib[^ ]*' | sort -u | cut -c2-) | docker import - {tags[0]}; "
        + "".join(f"docker tag {tags[0]} {tag}; " for tag in tags[1:])
    )

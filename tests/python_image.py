"""An image with a shell and Python, out of a host's own files: for ranks that a launcher starts. No registry, and nothing to build."""

from labs import Lab

PROGRAMS = "bin/sh bin/sleep bin/cat bin/mv bin/rm bin/hostname bin/torchrun bin/python3"


def import_python(lab: Lab, host: str, tag: str, torchrun: str) -> None:
    """`torchrun` is a script of the shell, in place of the real one."""
    lab.on(host, "sh", "-c", f"cat >/bin/torchrun <<'END'\n{torchrun}END\nchmod +x /bin/torchrun")
    needed = (
        "$(ldd bin/* usr/lib/python3*/lib-dynload/*.so 2>/dev/null | grep -o '/[^ ]*lib[^ ]*' | sort -u | cut -c2-)"
    )
    libraries = needed.replace("bin/*", PROGRAMS)
    packed = (
        f"tar --dereference --exclude='*/__pycache__' --exclude='*/test' -cf - {PROGRAMS} usr/lib/python3.* {libraries}"
    )
    made = f"docker image inspect {tag} >/dev/null 2>&1 || {packed} | docker import - {tag}"
    lab.on(host, "sh", "-c", f"cd /; {made}", timeout=300)

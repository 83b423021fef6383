"""What apt-get 2.6 writes on its standard error when it cannot install, by the reason."""

HELD_OUT = """The following packages have unmet dependencies:
 docker.io : Depends: containerd (>= 1.6) but 1.4 is to be installed
             Depends: runc but it is not installable
"""
HELD = "E: Unable to correct problems, you have held broken packages."
LOCK = """\rWaiting for cache lock: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)... 299s
E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)
N: Be aware that removing the lock file is not a solution and may break your system.
E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?
"""
LISTS = """E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (apt-get)
N: Be aware that removing the lock file is not a solution and may break your system.
E: Unable to lock directory /var/lib/apt/lists/
"""
FULL = """dpkg: error processing archive /var/cache/apt/archives/docker.io_26_amd64.deb (--unpack):
 cannot copy extracted data for './usr/sbin/dockerd': failed to write (No space left on device)
Errors were encountered while processing:
 /var/cache/apt/archives/docker.io_26_amd64.deb
E: Sub-process /usr/bin/dpkg returned an error code (1)
"""
UNREACHED = """W: Failed to fetch http://deb.debian.org/debian/dists/trixie/InRelease  Could not connect to deb.debian.org:80 (10.0.0.9). - connect (113: No route to host)
W: Some index files failed to download. They have been ignored, or old ones used instead.
"""
UNLOCATED = "E: Unable to locate package docker.io\n"
SIGNATURE = """W: GPG error: https://mirror/debian trixie InRelease: The following signatures were invalid: BADSIG 7EA0A9C3F273FCD8
E: The repository 'https://mirror/debian trixie InRelease' is not signed.
"""

#!/bin/sh
# Turns a Debian root file system into a lab host: an ordinary machine with systemd, sshd and one user with sudo.
# Usage: make-host.sh ROOT USER
set -eu
root=$1
user=$2

cat >"$root/etc/systemd/system/lab-host.service" <<'UNIT'
[Unit]
Description=Give this container what a machine has: its own SSH host keys, a writable /sys and cgroups
DefaultDependencies=no
After=local-fs.target
Before=ssh.service docker.service containerd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ssh-keygen -A
ExecStart=/bin/sh -c 'mount -o remount,rw /sys; \
    for m in $(grep -E " cgroup2? " /proc/mounts | cut -d" " -f2) /sys/fs/cgroup; do mount -o remount,bind,rw $m; done; true'

[Install]
WantedBy=multi-user.target
UNIT
mkdir -p "$root/etc/ssh/sshd_config.d" "$root/etc/sudoers.d" "$root/etc/systemd/system/multi-user.target.wants"
ln -sf ../lab-host.service "$root/etc/systemd/system/multi-user.target.wants/lab-host.service"
printf '%s\n' 'AuthorizedKeysFile /etc/ssh/lab_authorized_keys' 'PasswordAuthentication no' \
    >"$root/etc/ssh/sshd_config.d/lab.conf"
printf '%s ALL=(ALL) NOPASSWD: ALL\n' "$user" >"$root/etc/sudoers.d/$user"
chmod 0440 "$root/etc/sudoers.d/$user"
chroot "$root" useradd --create-home --shell /bin/bash "$user"
# Every host makes its own of these at its first boot.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
# Nothing of the machine that built it.
rm -f "$root/etc/resolv.conf" "$root/etc/hostname" 2>/dev/null || true

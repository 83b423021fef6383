#!/bin/sh
# Makes a signed rpm repository with packages named like Docker's, of Debian's own. Usage: make-rpms.sh DIRECTORY
# On Debian: a stand-in for Docker's repository, and for a host of the family redhat whose packages come by dnf.
set -eu
[ ! -e "$1/centos/gpg" ] || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get install -qq -y --no-install-recommends dnf dnf-plugins-core python3-dnf rpm createrepo-c gpg gpg-agent zstd >/dev/null
# Of these plugins, Rocky Linux has this one apart and switched off: it would install from copies, whose signatures it demands.
sed -i 's/^enabled.*/enabled = false/' /etc/dnf/plugins/local.conf
# What the real package does by a script, which would need packages of its own.
groupadd --force --system docker
repository="$1/centos/9/$(uname -m)/stable"
mkdir -p "$repository"
export GNUPGHOME=/root/stand-in-rpm-key
mkdir -m 0700 -p "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'stand-in <lab@localhost>' rsa3072 sign 0
gpg --batch --armor --export >"$1/centos/gpg"
gpg --batch --list-keys --with-colons | awk -F: '$1 == "fpr" { print $10; exit }' >"$1/centos/fingerprint"
# Of zstd, gnupg2 and dnf's plugin, the host has Debian's: what dnf gets is a name.
for pair in docker-ce:docker.io docker-ce-cli:docker-cli containerd.io:containerd docker-buildx-plugin:docker-buildx zstd: gnupg2: python3-dnf-plugin-versionlock:; do
    name=${pair%:*} source=${pair#*:} root=$(mktemp -d)
    if [ -n "$source" ]; then
        (cd "$root" && apt-get download -qq "$source" && dpkg-deb --extract ./*.deb root && rm ./*.deb)
        # The repackaged ones bring runc along, as containerd.io does.
        [ "$source" != containerd ] || (cd "$root" && apt-get download -qq runc && dpkg-deb --extract ./runc*.deb root && rm ./*.deb)
        # Debian's init scripts and shell settings are nobody's business here.
        rm -rf "$root/root/etc/init.d" "$root/root/etc/default"
    else
        mkdir -p "$root/root/usr/share/doc/stand-in-$name" && touch "$root/root/usr/share/doc/stand-in-$name/empty"
    fi
    (cd "$root/root" && find . -type f -o -type l | sed 's/^\.//; s/ /?/g') >"$root/files"
    cat >"$root/spec" <<END
Name: $name
Version: 26.1.5
Release: 1.el9
Summary: A stand-in
License: none
AutoReqProv: no
%define __os_install_post %{nil}
%define _build_id_links none
%description
Debian's $source under another name.
%install
cp -a $root/root/. %{buildroot}/
%files -f $root/files
END
    rpmbuild --quiet --define "_rpmdir $repository" --define '_binary_payload w1.gzdio' -bb "$root/spec" >"$root/log" 2>&1 || { tail -20 "$root/log" >&2; exit 1; }
    rm -rf "$root"
done
find "$repository" -mindepth 2 -name '*.rpm' -exec mv {} "$repository" \;
rpmsign --define '_gpg_name stand-in' --addsign "$repository"/*.rpm >/dev/null 2>&1 || rpm --define '_gpg_name stand-in' --addsign "$repository"/*.rpm
# What a host of that family has from its distribution.
mkdir "$1/baseos"
mv "$repository"/zstd-* "$repository"/gnupg2-* "$repository"/python3-* "$1/baseos"
createrepo_c --quiet "$repository"
createrepo_c --quiet "$1/baseos"
printf '[baseos]\nname=A stand-in\nbaseurl=file://%s\ngpgkey=file://%s\ngpgcheck=1\n' "$1/baseos" "$1/centos/gpg" >/etc/yum.repos.d/baseos.repo
chmod -R a+rX "$1"

#!/bin/sh
# Makes a signed apt repository with packages named like Docker's. Usage: make-repository.sh DIRECTORY SUITE
set -eu
mkdir -p "$1/pool" "$1/dists/$2/stable/binary-$(dpkg --print-architecture)"
cd "$1"
for pair in docker-ce:docker.io docker-ce-cli:docker-cli containerd.io:containerd docker-buildx-plugin:docker-buildx; do
    root=$(mktemp -d)
    (cd "$root" && apt-get download -qq "${pair#*:}" && dpkg-deb --raw-extract ./*.deb package)
    # As Docker's packages do, these depend on each other and exclude Debian's.
    sed -i -E -e "s/^Package: .*/Package: ${pair%:*}/" -e '/^(Conflicts|Breaks|Replaces|Provides|Recommends|Suggests):/d' \
        -e '/^Depends:/{s/\bcontainerd\b[^,]*/containerd.io/; s/\bdocker-cli\b[^,]*/docker-ce-cli/}' "$root/package/DEBIAN/control"
    printf 'Conflicts: %s\n' "${pair#*:}" >>"$root/package/DEBIAN/control"
    dpkg-deb --build --root-owner-group -Zgzip -z1 "$root/package" "pool/${pair%:*}.deb" >/dev/null
    rm -r "$root"
done
apt-ftparchive packages pool >"dists/$2/stable/binary-$(dpkg --print-architecture)/Packages"
apt-ftparchive -o "APT::FTPArchive::Release::Suite=$2" -o "APT::FTPArchive::Release::Codename=$2" \
    -o APT::FTPArchive::Release::Components=stable release "dists/$2" >/tmp/Release
mv /tmp/Release "dists/$2/Release"
export GNUPGHOME=/root/stand-in-key
mkdir -m 0700 -p "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'stand-in <lab@localhost>' ed25519 sign 0
gpg --batch --quiet --clearsign --output "dists/$2/InRelease" "dists/$2/Release"
gpg --batch --armor --export >gpg
gpg --batch --list-keys --with-colons | awk -F: '$1 == "fpr" { print $10; exit }' >fingerprint
chmod -R a+rX /srv/docker

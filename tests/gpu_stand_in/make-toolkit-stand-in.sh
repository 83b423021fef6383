#!/bin/sh
# Makes a signed apt repository laid out like NVIDIA's, with a package that is named like its container toolkit and holds the
# stand-in. Usage: make-toolkit-stand-in.sh RUNTIME DIRECTORY
set -eu
runtime=$1 directory=$2
root=$(mktemp -d)
mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/etc/nvidia-container-runtime"
cat >"$root/DEBIAN/control" <<END
Package: nvidia-container-toolkit
Version: 1.19.0~stand-in
Architecture: all
Maintainer: stand-in <lab@localhost>
Depends: python3
Description: stands in for NVIDIA's container toolkit in tests
END
echo /etc/nvidia-container-runtime/config.toml >"$root/DEBIAN/conffiles"
install -m 0755 "$runtime" "$root/usr/bin/nvidia-container-runtime-stand-in"
ln -s nvidia-container-runtime-stand-in "$root/usr/bin/nvidia-container-runtime"
printf '#!/bin/sh\necho "NVIDIA Container Toolkit CLI version 1.19.0 (stand-in)"\n' >"$root/usr/bin/nvidia-ctk"
chmod 0755 "$root/usr/bin/nvidia-ctk"
# The beginning of the file that the real package brings.
cat >"$root/etc/nvidia-container-runtime/config.toml" <<END
#accept-nvidia-visible-devices-envvar-when-unprivileged = true
disable-require = false
#swarm-resource = "DOCKER_RESOURCE_GPU"

[nvidia-container-cli]
load-kmods = true
END
packages=$directory/stable/deb/$(dpkg --print-architecture)
mkdir -p "$packages"
cd "$packages"
dpkg-deb --build --root-owner-group "$root" nvidia-container-toolkit.deb >/dev/null
apt-ftparchive packages . >Packages
apt-ftparchive release . >/tmp/Release && mv /tmp/Release Release
export GNUPGHOME=/root/stand-in-key
mkdir -m 0700 -p "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'stand-in <lab@localhost>' ed25519 sign 0
gpg --batch --quiet --clearsign --output InRelease Release
gpg --batch --armor --export >"$directory/gpgkey"
gpg --batch --list-keys --with-colons | awk -F: '$1 == "fpr" { print $10; exit }' >"$directory/fingerprint"
chmod -R a+rX "$directory"

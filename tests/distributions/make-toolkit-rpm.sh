#!/bin/sh
# Makes an rpm repository laid out like NVIDIA's, whose list is signed and whose packages are not, with a package that is named like its
# container toolkit and holds the stand-in. Usage: make-toolkit-rpm.sh RUNTIME DIRECTORY, after make-rpms.sh
set -eu
[ ! -e "$2/gpgkey" ] || exit 0
export GNUPGHOME=/root/stand-in-rpm-key
repository="$2/stable/rpm/$(uname -m)" root=$(mktemp -d)
mkdir -p "$repository" "$root/root/usr/bin" "$root/root/etc/nvidia-container-runtime"
install -m 0755 "$1" "$root/root/usr/bin/nvidia-container-runtime"
printf '#!/bin/sh\necho "NVIDIA Container Toolkit CLI version 1.19.0 (stand-in)"\n' >"$root/root/usr/bin/nvidia-ctk"
chmod 0755 "$root/root/usr/bin/nvidia-ctk"
printf 'disable-require = false\n#swarm-resource = "DOCKER_RESOURCE_GPU"\n\n[nvidia-container-cli]\n' >"$root/root/etc/nvidia-container-runtime/config.toml"
cat >"$root/spec" <<END
Name: nvidia-container-toolkit
Version: 1.19.0
Release: 1
Summary: A stand-in
License: none
AutoReqProv: no
%define __os_install_post %{nil}
%description
Stands in for NVIDIA's container toolkit in tests.
%install
cp -a $root/root/. %{buildroot}/
%files
/usr/bin/nvidia-*
/etc/nvidia-container-runtime
END
rpmbuild --quiet --define "_rpmdir $repository" --define '_binary_payload w1.gzdio' -bb "$root/spec" >"$root/log" 2>&1 || { tail -20 "$root/log" >&2; exit 1; }
find "$repository" -mindepth 2 -name '*.rpm' -exec mv {} "$repository" \;
createrepo_c --quiet "$repository"
gpg --batch --quiet --armor --detach-sign "$repository/repodata/repomd.xml"
gpg --batch --armor --export >"$2/gpgkey"
chmod -R a+rX "$2"

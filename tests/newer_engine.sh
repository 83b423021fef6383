#!/bin/sh
# On a Debian 13 host: the engine of Debian's next release (28.5). Nothing with Python is taken from there.
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-apt zstd
mirror=$(grep -rhoE 'https?://[^ ]*debian/?' /etc/apt/sources.list /etc/apt/sources.list.d | head -1)
echo "deb $mirror forky main" > /etc/apt/sources.list.d/forky.list
echo 'Acquire::Check-Valid-Until "false";' > /etc/apt/apt.conf.d/99forky
printf 'Package: *\nPin: release n=forky\nPin-Priority: 100\n' > /etc/apt/preferences.d/forky
apt-get update -qq && apt-get install -y -qq --no-install-recommends -t forky docker.io docker-cli

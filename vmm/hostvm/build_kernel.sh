#!/usr/bin/bash
# Builds /Image from Debian's sources and /fragment, inside a root of unpacked packages: build_kernel SOURCE JOBS.
set -euo pipefail
export PATH=/usr/sbin:/usr/bin HOME=/tmp LC_ALL=C ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-
# Times and names of the build do not depend on when and where it is.
export KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=vsmmu KBUILD_BUILD_HOST=vsmmu
# Scripts of an installation would have made these.
for name in bin sbin lib lib64; do [ -e "/$name" ] || ln -s "usr/$name" "/$name"; done
[ -e /usr/bin/awk ] || ln -s mawk /usr/bin/awk
[ -e /usr/bin/sh ] || ln -s bash /usr/bin/sh
[ -e /usr/bin/python3 ] || ln -s "$(basename /usr/bin/python3.*[0-9])" /usr/bin/python3
mkdir -p /tmp /dev
[ -e /dev/null ] || mknod -m 666 /dev/null c 1 3
[ -e /dev/urandom ] || mknod -m 444 /dev/urandom c 1 9
ln -sfn /proc/self/fd /dev/fd
cd /tmp
tar xf "/usr/src/$1.tar.xz"
cd "$1"
make -s allnoconfig
scripts/kconfig/merge_config.sh -m .config /fragment > /dev/null
make -s olddefconfig
# What the fragment asks for and the sources do not have would be missed only much later.
missing=$(grep -vxF -f .config <(grep -v '=n$' /fragment | grep '^CONFIG_') || true)
if [ -n "$missing" ]; then
  echo "The kernel's configuration lacks $missing" >&2
  exit 1
fi
# A shell ends at once when it is told to, a compiler does not: make takes its own along.
make -j"$2" Image &
trap 'kill $!; wait $!' TERM INT HUP
wait $!
mv arch/arm64/boot/Image /Image

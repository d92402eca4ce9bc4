#!/usr/bin/env bash
# Makes ums/base:trixie, what every image here starts from: debian:trixie-slim where the engine has
# it or can pull it, otherwise the same made locally from Debian's packages. images/base/README.md.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

readonly base=ums/base:trixie
readonly pull_deadline_seconds=120

main() {
  if docker image inspect "$base" >/dev/null 2>&1; then
    log "$base is there"
  elif timeout "$pull_deadline_seconds" docker pull -q debian:trixie-slim >/dev/null 2>&1; then
    docker tag debian:trixie-slim "$base"
    log "$base: pulled debian:trixie-slim"
  else
    log "$base: debian:trixie-slim cannot be pulled, making it with mmdebstrap"
    bootstrap
    log "$base: made in $SECONDS s"
  fi
}

# The excludes are those of debian:trixie-slim (debuerreotype's slim variant).
bootstrap() {
  local share=/usr/share tarball=build/base.tar mirror
  mirror=${DEBIAN_MIRROR:-$(machine_mirror)}
  [ -n "$mirror" ] || die "apt of this machine knows no Debian mirror: set DEBIAN_MIRROR"
  mkdir -p build
  mmdebstrap --quiet --variant=minbase --components=main \
    --dpkgopt="path-exclude=$share/man/*" --dpkgopt="path-exclude=$share/doc/*" \
    --dpkgopt="path-include=$share/doc/*/copyright" --dpkgopt="path-exclude=$share/locale/*" \
    --dpkgopt="path-exclude=$share/info/*" \
    trixie "$tarball" "deb $mirror trixie main" "deb $mirror trixie-updates main"
  docker import --change 'CMD ["bash"]' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    "$tarball" "$base" >/dev/null
  rm -f "$tarball"
}

# Where apt of this machine gets Debian's packages.
machine_mirror() {
  sed '/^#/d' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -oE 'https?://[^[:space:]]+/debian' | head -n 1 || true
}

main

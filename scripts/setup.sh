#!/usr/bin/env bash
# Makes a bare Debian (root, Node >= 20.19, git, make, ca-certificates) able to build, test and
# demonstrate UMS: installs what is missing with apt and starts a container engine if none answers.
# What is there already is used as it is. Repeatable; says what it does.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

readonly engine_deadline_seconds=60
readonly engine_log=build/log/dockerd.log

main() {
  check_root
  check_node
  install_packages
  ensure_cgroups
  ensure_engine
  ensure_forwarding
}

check_root() {
  [ "$(id -u)" -eq 0 ] || die "run it as root: packages are installed and a container engine is used"
}

check_node() {
  local version
  version=$(node --version 2>/dev/null) || die "node is missing: install Node.js 20.19 or newer"
  node -e 'const [a, b] = process.versions.node.split(".").map(Number);
    process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    die "node $version is too old: 20.19 or newer is needed"
}

# Prints the packages that are missing, by the program or file that each is wanted for. An engine
# that answers counts as installed, wherever it came from (Docker's own packages, a remote socket).
missing_packages() {
  local wanted program package
  for wanted in \
    iptables:iptables nft:nftables ip:iproute2 conntrack:conntrack rsync:rsync setfattr:attr tar:tar \
    mmdebstrap:mmdebstrap gcc:gcc g++:g++ make:make python3:python3 strip:binutils \
    openssl:openssl ps:procps named:bind9 dig:bind9-dnsutils; do
    program=${wanted%%:*}
    package=${wanted#*:}
    command -v "$program" >/dev/null || printf '%s\n' "$package"
  done
  # The fixtures' C programs are linked statically against the libc of this package.
  [ -e /usr/include/stdio.h ] || printf 'libc6-dev\n'
  if ! engine_answers; then
    command -v dockerd >/dev/null || printf 'docker.io\n'
    # Newer Debian releases split the client out of docker.io, as a mere recommendation.
    command -v docker >/dev/null || client_package
  fi
}

client_package() {
  if apt-cache show docker-cli >/dev/null 2>&1; then printf 'docker-cli\n'; else printf 'docker.io\n'; fi
}

install_packages() {
  local packages
  mapfile -t packages < <(missing_packages | sort -u)
  if [ ${#packages[@]} -eq 0 ]; then
    log "packages: nothing is missing"
    return
  fi
  if ! lists_are_there "${packages[@]}"; then
    log "packages: apt-get update"
    apt-get update -q >/dev/null
    # The lists decide whether docker-cli exists, so what is missing is asked again.
    mapfile -t packages < <(missing_packages | sort -u)
  fi
  log "packages: installing ${packages[*]}"
  mkdir -p build/log
  keep_services_stopped
  if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" \
    >build/log/apt.log 2>&1; then
    tail -n 20 build/log/apt.log >&2
    die "apt-get install failed; the whole log is build/log/apt.log"
  fi
  # The tests start a name server of their own; the machine is not to become one.
  if [ -d /run/systemd/system ] && [[ " ${packages[*]} " == *" bind9 "* ]]; then
    systemctl disable --now --quiet named || log "packages: named could not be disabled"
  fi
}

lists_are_there() {
  apt-get install --simulate --no-install-recommends "$@" >/dev/null 2>&1
}

# Without systemd the postinst of docker.io tries to start its init script, which fails in a chroot
# or a container and takes apt with it. The engine is started below instead. A policy that is there
# already stays.
keep_services_stopped() {
  if [ -d /run/systemd/system ] || [ -e /usr/sbin/policy-rc.d ]; then return; fi
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

# dockerd needs controllers. systemd mounts them; a bare chroot may have nothing at all.
ensure_cgroups() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/memory ]; then return; fi
  log "cgroups: mounting cgroup2 on /sys/fs/cgroup"
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
}

engine_answers() {
  command -v docker >/dev/null && docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

ensure_engine() {
  if engine_answers; then
    log "engine: using the one that runs ($(engine_description))"
    return
  fi
  if [ -n "${DOCKER_HOST:-}" ]; then die "engine: nothing answers at DOCKER_HOST=$DOCKER_HOST"; fi
  choose_iptables
  if [ -d /run/systemd/system ]; then
    log "engine: systemctl start docker"
    systemctl start docker
  else
    start_dockerd
  fi
  await_engine
  log "engine: started ($(engine_description))"
}

engine_description() {
  docker info --format '{{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}}'
}

# dockerd picks its own storage driver. Its own session keeps it alive after this script, with no
# terminal that could stop it.
start_dockerd() {
  mkdir -p build/log
  rm -f /run/docker.pid /run/docker/containerd/containerd.pid
  setsid --fork dockerd >"$engine_log" 2>&1 </dev/null
  log "engine: starting dockerd (log $engine_log; to stop it: kill \$(cat /run/docker.pid))"
}

await_engine() {
  local deadline=$((SECONDS + engine_deadline_seconds))
  until engine_answers; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      if [ -e "$engine_log" ]; then tail -n 20 "$engine_log" >&2; fi
      die "engine: no answer within $engine_deadline_seconds s"
    fi
    sleep 0.2
  done
}

# Debian's default back end is nft; a kernel without nf_tables has only the legacy one, and dockerd
# then fails at its first rule.
choose_iptables() {
  if iptables -w 5 -t nat -S >/dev/null 2>&1; then return; fi
  if ! iptables-legacy -w 5 -t nat -S >/dev/null 2>&1; then
    die "iptables: neither nf_tables nor the legacy tables work on this kernel"
  fi
  log "iptables: this kernel has no nf_tables, using the legacy back end"
  update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null
}

# Containers reach the network (apt in image builds) only when the machine forwards.
ensure_forwarding() {
  local switch=/proc/sys/net/ipv4/ip_forward
  if [ "$(cat "$switch")" = 1 ]; then return; fi
  log "network: enabling IPv4 forwarding"
  echo 1 >"$switch" || log "network: cannot enable IPv4 forwarding; image builds may lack a network"
}

main

#!/usr/bin/env bash
# Prints the `docker run` flags of an outer container, one argument a line.
#
#   outer-flags.sh [privileged|capabilities|auto]      e.g.  mapfile -t flags < <(outer-flags.sh)
#
# privileged    the usual way
# capabilities  where --privileged is not to be had: Swarm services have no such option, and Docker
#               before 26 refuses it on a machine that itself lacks CAP_SYS_RESOURCE ("unable to
#               apply caps"). CAP_SYS_RESOURCE is left out for the same reason; nothing here needs it.
# auto          privileged where the engine gives it, else capabilities (the default)
set -o errexit -o nounset -o pipefail

main() {
  case ${1:-auto} in
    privileged) privileged ;;
    capabilities) capabilities ;;
    auto) if privileged_works; then privileged; else capabilities; fi ;;
    *)
      printf 'usage: outer-flags.sh [privileged|capabilities|auto]\n' >&2
      exit 64
      ;;
  esac
}

privileged() {
  printf '%s\n' --privileged
}

# seccomp and apparmor: the default profiles forbid mounts, namespaces and ptrace. systempaths:
# /proc/sys must be writable, and CRIU reads the masked paths. The device rule: the inner engine
# gives devices to its containers, and /dev/net/tun is made inside.
capabilities() {
  printf '%s\n' --cap-add=ALL --cap-drop=SYS_RESOURCE \
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
    --security-opt systempaths=unconfined --device-cgroup-rule='a *:* rwm'
}

# By what this script can see: CAP_SYS_RESOURCE is bit 24 of this machine's own bounding set.
privileged_works() {
  local bounding major
  bounding=$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)
  if (((0x$bounding >> 24 & 1) == 1)); then return 0; fi
  major=$(docker version --format '{{.Server.Version}}' | cut -d. -f1)
  [ "$major" -ge 26 ]
}

main "$@"

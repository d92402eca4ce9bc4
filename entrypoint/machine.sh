# shellcheck shell=sh
# Prepares the outer container for containers inside of it; sourced by ums-init, which provides
# log() and the variable $state (/run/ums). One function per concern, each safe to run again after a restart.

# Docker's flags of both ways to run an outer container are in scripts/outer-flags.sh; a message
# here names the one that is missing.

fail_privilege() { # REASON REMEDY
  log 60 "$1; run the outer container with $2" '"code":"ERR_PRIVILEGE_MISSING"'
  exit 78
}

# has_capability BIT: bits as in linux/capability.h. The effective set is 64 bits of hexadecimal.
has_capability() {
  effective=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
  [ $((0x$effective >> $1 & 1)) -eq 1 ]
}

# Only what nothing works without. CAP_SYS_RESOURCE and CAP_CHECKPOINT_RESTORE are not required:
# engines before Docker 23 cannot grant the second, and CRIU takes CAP_SYS_ADMIN for it.
require_privileges() {
  [ "$(id -u)" -eq 0 ] || fail_privilege "the outer container does not run as root" "--user 0"
  for capability in 21:SYS_ADMIN 12:NET_ADMIN 19:SYS_PTRACE 27:MKNOD; do
    has_capability "${capability%%:*}" ||
      fail_privilege "CAP_${capability#*:} is missing" "--privileged or --cap-add=ALL"
  done
  # An AppArmor profile forbids mounts that the capability would allow. This one is needed anyway:
  # volumes that are mounted inside must show in the nested containers.
  mount --make-rshared / 2>/dev/null ||
    fail_privilege "mount(2) is refused" \
      "--privileged, or --security-opt apparmor=unconfined --security-opt seccomp=unconfined"
  # Docker mounts /proc/sys read-only unless told not to; forwarding cannot be switched on then.
  if ! [ -w /proc/sys/net/ipv4/ip_forward ] || awk '$2 == "/proc/sys" && $4 ~ /^ro/ { found = 1 }
    END { exit !found }' /proc/mounts; then
    fail_privilege "/proc/sys is read-only" "--privileged or --security-opt systempaths=unconfined"
  fi
}

# CRIU caches its probe of the kernel (/run/criu.kdat, 100 ms each time otherwise) only where /run is
# a tmpfs. What the orchestrator has mounted below /run (Kubernetes: the service account under
# /run/secrets) is bound back into its place.
prepare_run() {
  if [ "$(stat -f -c %T /run)" != tmpfs ]; then
    below=$(awk '$2 ~ /^\/run\// { print $2 }' /proc/mounts)
    mkdir -p /tmp/.ums-run
    mount --rbind /run /tmp/.ums-run
    # Else the tmpfs on /run would show on top of it too.
    mount --make-rprivate /tmp/.ums-run
    mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run
    for target in $below; do bind_back "$target"; done
    umount -R -l /tmp/.ums-run && rmdir /tmp/.ums-run
  fi
  # shellcheck disable=SC2154  # ums-init sets it
  mkdir -p "$state"
  mountpoint -q "$state" || mount -t tmpfs -o mode=0700,nosuid,nodev tmpfs "$state"
  # CRIU's logs: a restore of damaged images logs without end (src/criu/files.ts).
  mkdir -p "$state/criu"
  mountpoint -q "$state/criu" ||
    mount -t tmpfs -o size=64m,mode=0700,nosuid,nodev,noexec tmpfs "$state/criu"
  # Left by an engine that was killed where /run outlives the container.
  rm -f /run/docker.pid /run/docker.sock /run/docker/containerd/containerd.pid
}

bind_back() { # TARGET below /run; /proc/mounts writes a blank as \040
  target=$(printf '%b' "$(printf '%s' "$1" | sed 's/\\/\\0/g')")
  source=/tmp/.ums-run${target#/run}
  if [ -d "$source" ]; then
    mkdir -p "$target"
  else
    mkdir -p "${target%/*}"
    : >"$target"
  fi
  mount --rbind "$source" "$target"
}

prepare_cgroups() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    prepare_cgroup_v2
  else
    prepare_cgroup_v1
  fi
}

# Without --privileged Docker mounts the hierarchies read-only.
prepare_cgroup_v1() {
  awk '$3 == "cgroup" { print $2 }' /proc/mounts | while IFS= read -r hierarchy; do
    mount -o remount,bind,rw "$hierarchy" ||
      fail_privilege "$hierarchy cannot be remounted writable" "--privileged or --cap-add=ALL"
  done || exit
}

# On v2 a cgroup with processes in it cannot hand controllers to its children ("no internal
# processes", Documentation/admin-guide/cgroup-v2.rst), so all move into a leaf first. A process
# that `docker exec` starts meanwhile makes the write fail (EBUSY): hence a loop, with a bound.
prepare_cgroup_v2() {
  mount -o remount,bind,rw /sys/fs/cgroup ||
    fail_privilege "/sys/fs/cgroup cannot be remounted writable" "--privileged or --cap-add=ALL"
  mkdir -p /sys/fs/cgroup/init
  attempt=0
  until enable_controllers 2>/dev/null; do
    attempt=$((attempt + 1))
    if [ "$attempt" -ge 50 ]; then
      log 50 "cgroup controllers cannot be enabled for nested containers" "\"attempts\":$attempt"
      return
    fi
    sleep 0.02
  done
}

enable_controllers() {
  # A process may have ended between the read and the write, and kernel threads do not move.
  xargs -r -n1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs || :
  sed 's/[^ ][^ ]*/+&/g' </sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
}

# The inner engine's volumes lie on one mount, which the engine makes shared. Then all volumes of a
# service would be slaves of one peer group, and CRIU cannot restore them where they are mounts of
# their own ("mnt-v2: Failed to copy sharing"). A private mount of their own in between ends that.
prepare_volumes() {
  volumes=/var/lib/docker/volumes
  mkdir -p "$volumes"
  mountpoint -q "$volumes" || mount --bind "$volumes" "$volumes"
  mount --make-private "$volumes"
}

prepare_sys() {
  # runc and the engine write to /sys (net/*/brport, kernel/security); it has nothing of the host's
  # that CAP_SYS_ADMIN would not reach anyway.
  mount -o remount,rw /sys 2>/dev/null || log 40 "/sys stays read-only"
}

# The hold and the relay of a migration are TUN devices; only --privileged brings the node.
prepare_devices() {
  [ -c /dev/net/tun ] && return
  mkdir -p /dev/net
  mknod -m 0600 /dev/net/tun c 10 200 ||
    fail_privilege "/dev/net/tun cannot be made" "--privileged or --device-cgroup-rule='a *:* rwm'"
}

# The same rule as docker:dind: UMS_IPTABLES_LEGACY set and not empty means legacy, set and empty
# means nft; otherwise legacy where this network namespace already has legacy tables (mixing both
# gives two sets of rules), else nft where the kernel has it.
choose_iptables() {
  backend=nft
  if [ -n "${UMS_IPTABLES_LEGACY-}" ]; then
    backend=legacy
  elif [ -z "${UMS_IPTABLES_LEGACY+set}" ]; then
    if [ -s /proc/net/ip_tables_names ]; then
      backend=legacy
    elif ! iptables-nft -w 5 -nL >/dev/null 2>&1; then
      modprobe nf_tables 2>/dev/null || :
      iptables-nft -w 5 -nL >/dev/null 2>&1 || backend=legacy
    fi
  fi
  for tool in iptables ip6tables; do
    update-alternatives --quiet --set "$tool" "/usr/sbin/$tool-$backend" ||
      log 40 "the iptables back end cannot be chosen: the root file system is read-only"
  done
  log 30 "iptables back end chosen" "\"backend\":\"$backend\""
}

# CRIU's page server wants pipes of 4 MiB and without CAP_SYS_RESOURCE gets no more than this limit;
# it fails with the misleading "splice: Bad file descriptor" (measured, CRIU 4.2.1). The limit is the
# machine's, so it is only ever raised.
raise_limits() {
  limit=/proc/sys/fs/pipe-max-size
  [ "$(cat "$limit")" -ge 4194304 ] && return
  { echo 4194304 >"$limit"; } 2>/dev/null ||
    log 40 "fs.pipe-max-size is below 4194304 and cannot be raised: post-copy will not work"
}

#!/bin/sh
# What there is in an outer container, one thing a line, its kind first; run in it by snapshot.ts.
set -u

for state in $(find /sys/fs/cgroup/freezer -mindepth 2 -name freezer.state 2>/dev/null); do
  printf 'cgroup %s %s\n' "$(cat "$state")" "$(tr '\n' ' ' <"${state%/*}/cgroup.procs")"
done
for state in $(find /sys/fs/cgroup -mindepth 2 -name cgroup.freeze 2>/dev/null); do
  frozen=THAWED
  [ "$(cat "$state")" = 0 ] || frozen=FROZEN
  printf 'cgroup %s %s\n' "$frozen" "$(tr '\n' ' ' <"${state%/*}/cgroup.procs")"
done
for process in /proc/[0-9]*; do
  command=$(tr '\0' ' ' 2>/dev/null <"$process/cmdline" | cut -c1-120)
  printf 'process %s %s\n' "${process#/proc/}" "$command"
done
# The fields of man 5 proc_pid_mountinfo: where, and of which type.
sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - \([^ ]*\) .*/mount \1 \2/p' /proc/1/mountinfo
find /run/ums -mindepth 2 2>/dev/null | sed 's/^/file /'
find /run/ums -maxdepth 1 -name "output-*" | sed "s/^.*/file output position/"
find /tmp /var/lib/ums -mindepth 1 2>/dev/null | sed 's/^/file /'
find /var/lib/docker/containers -mindepth 1 -maxdepth 1 | sed "s/^/container /"
ss -Htan | sed 's/^/socket /'
ip -o link show | sed 's/^[0-9]*: \([^:@]*\).*/link \1/'
ip rule show | sed 's/^/rule /'
# A change of the rules under way makes one listing fail.
rules=$(nft --stateless list ruleset || nft --stateless list ruleset) || exit
printf "%s\n" "$rules" | sed "s/^/nft /"

# shellcheck shell=bash
# Helpers shared by the scripts in this folder; sourced, never run.

log() {
  printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
}

die() {
  log "$*"
  exit 1
}

# digest_of FILE_OR_FOLDER...: one SHA-256 over names, modes and contents. Images carry it in the
# label ums.inputs, so that "is this image still what the sources say?" is asked of the engine that
# would run it and not of a stamp file that another engine or a `docker image rm` has outdated.
digest_of() {
  {
    find "$@" -type f -printf '%p %m\n' | LC_ALL=C sort
    find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  } | sha256sum | cut -c1-64
}

# inputs_of FILE_OR_FOLDER...: digest_of, and the id of the base image. A base made anew has other
# layers: an image made on the old one would share none with it.
inputs_of() {
  local digest base
  digest=$(digest_of "$@")
  base=$(docker image inspect --format '{{.Id}}' ums/base:trixie)
  printf '%s-%s' "${digest:0:32}" "${base:7:32}"
}

# image_is_current IMAGE DIGEST: true when the engine has IMAGE, made from the inputs of DIGEST.
image_is_current() {
  [ "$(docker image inspect --format '{{ index .Config.Labels "ums.inputs" }}' "$1" 2>/dev/null)" = "$2" ]
}

# docker_build ARGUMENT...: one build with what every build here needs. BuildKit is left to the
# client's own choice: every Dockerfile here also works with the legacy builder of Docker 20.10.
docker_build() {
  local proxy args=()
  for proxy in http_proxy https_proxy no_proxy; do
    if [ -n "${!proxy:-}" ]; then args+=(--build-arg "$proxy"); fi
  done
  if [ -n "${DEBIAN_MIRROR:-}" ]; then args+=(--build-arg DEBIAN_MIRROR); fi
  local started=$SECONDS log_file=build/log/docker-build.$$.log
  mkdir -p build/log
  if ! docker build "${args[@]}" "$@" >"$log_file" 2>&1; then
    tail -n 40 "$log_file" >&2
    die "docker build failed; the whole log is $log_file"
  fi
  rm -f "$log_file"
  log "docker build took $((SECONDS - started)) s"
}

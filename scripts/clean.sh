#!/usr/bin/env bash
# Removes what `make` made: dist/, build/, the containers and volumes of outer containers, and our
# images. Leaves node_modules, installed packages and the engine; neither did anything to others.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

main() {
  if docker version >/dev/null 2>&1; then
    remove_containers
    remove_images
  fi
  rm -rf dist build
}

# By label: outer images carry it, so do wrapped ones (`ums build`) made from them.
remove_containers() {
  local containers
  mapfile -t containers < <(docker ps --all --quiet --filter label=ums.outer=1)
  if [ ${#containers[@]} -eq 0 ]; then return; fi
  log "removing ${#containers[@]} containers"
  docker rm --force --volumes "${containers[@]}" >/dev/null
}

remove_images() {
  local images
  mapfile -t images < <(docker images --format '{{.Repository}}:{{.Tag}}' |
    grep -E '^(ums/(outer|base|outer-test/[a-z-]+)|ums-fixture/[a-z-]+):' || true)
  if [ ${#images[@]} -eq 0 ]; then return; fi
  log "removing images: ${images[*]}"
  docker rmi "${images[@]}" >/dev/null
}

main

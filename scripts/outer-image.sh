#!/usr/bin/env bash
# Builds ums/outer:latest. npm does not run in the image build: the application, its production
# packages and Node are staged here, into build/outer/, which is the whole build context.
# Needs `make build` first. Does nothing when the engine has the image of these very inputs.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# Another name keeps several working copies on one engine apart (tests: UMS_TEST_OUTER).
readonly image=${UMS_OUTER_IMAGE:-ums/outer:latest}
readonly context=build/outer
readonly app=$context/app
# What node_modules was when its production packages were staged.
readonly staged_packages=build/staged-packages.json

main() {
  [ -e dist/src ] || die "dist/src is missing: run make build"
  stage_node
  stage_application
  stage_files
  scripts/base-image.sh
  local digest
  digest=$(cd "$context" && inputs_of . ../../images/outer)
  if image_is_current "$image" "$digest"; then
    log "$image is current"
    return
  fi
  docker_build --build-arg BASE=ums/base:trixie --label "ums.inputs=$digest" \
    --tag "$image" --file images/outer/Dockerfile "$context"
  log "$image: $(docker image inspect --format '{{.Size}}' "$image" | numfmt --to=si)B"
}

# Node of exactly the version that images/outer/node/package-lock.json pins by digest, without its
# static symbol table (native modules link to the dynamic one, which stays).
stage_node() {
  local folder=build/node source version
  if [ ! -e "$folder/node_modules" ] ||
    ! cmp -s images/outer/node/package-lock.json "$folder/package-lock.json"; then
    mkdir -p "$folder"
    cp images/outer/node/package.json images/outer/node/package-lock.json "$folder/"
    npm ci --prefix "$folder" --no-audit --no-fund --silent
    rm -f "$context/node"
  fi
  if [ -e "$context/node" ]; then return; fi
  source=$(find "$folder"/node_modules -path '*/bin/node' -type f | head -n 1)
  [ -n "$source" ] || die "no Node binary for $(uname -m): see images/outer/node/package.json"
  mkdir -p "$context"
  strip --strip-unneeded -o "$context/node" "$source"
  chmod 755 "$context/node"
  version=$("$context/node" --version)
  log "staged Node $version"
}

stage_application() {
  mkdir -p "$app/dist"
  rsync -a --delete --delete-excluded --exclude='*.d.ts' dist/src "$app/dist/"
  rsync -a --delete proto "$app/"
  mkdir -p "$app/src/coordinator"
  rsync -a --delete src/coordinator/page "$app/src/coordinator/"
  cp package.json "$app/"
  # npm writes this file whenever it changes node_modules.
  if ! cmp -s node_modules/.package-lock.json "$staged_packages"; then stage_packages; fi
}

# Production packages as npm has installed and compiled them for this machine, without what run
# time never reads: sources of native modules, type declarations, binaries of other platforms.
stage_packages() {
  local package
  rm -f "$staged_packages"
  npm ls --omit=dev --all --parseable 2>/dev/null | sed -n "s|^$PWD/||p" >build/packages.txt
  [ -s build/packages.txt ] || die "npm lists no production package: run make deps"
  rm -rf "$app/node_modules"
  while IFS= read -r package; do
    mkdir -p "$app/$package"
    # A package nested in another one is listed by itself, hence no node_modules here.
    rsync -a --exclude=/node_modules \
      --exclude='/prebuilds' --exclude='/third_party' --exclude='/deps' --exclude='obj.target' \
      --exclude='.deps' --exclude='Makefile' --exclude='*.mk' --exclude='*.gypi' \
      --exclude='*.cc' --exclude='*.h' --exclude='*.ts' --exclude='*.mts' --exclude='*.cts' \
      --exclude='*.map' --exclude='*.md' --exclude='/doc' --exclude='/docs' --exclude='/test' \
      --exclude='/tests' --exclude='/examples' --exclude='/benchmarks' --exclude='/.github' \
      "$package/" "$app/$package/"
  done <build/packages.txt
  rm -rf "$app/node_modules/@types"
  cp node_modules/.package-lock.json "$staged_packages"
}

stage_files() {
  rm -rf "$context/entrypoint" "$context/files"
  cp -R entrypoint "$context/entrypoint"
  chmod 755 "$context"/entrypoint/*
  cp -R images/outer/files "$context/files"
  compile_criu_shim
}

# What is loaded into CRIU; each source says why and when it may go.
compile_criu_shim() {
  local library=build/criu-shim.so source
  local sources=(images/outer/criu-limits.c images/outer/criu-cork.c)
  for source in "${sources[@]}"; do
    if [ "$library" -nt "$source" ]; then continue; fi
    gcc -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -shared -fPIC -s -o "$library" "${sources[@]}"
    break
  done
  install -D -m 755 "$library" "$context/files/usr/local/lib/ums/criu-shim.so"
}

main

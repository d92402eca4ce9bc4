#!/usr/bin/env bash
# Builds ums-fixture/NAME:latest, the nested services of the tests, from images/fixtures/NAME and
# Debian's packages. Does nothing for those the engine has, made of these very inputs.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

readonly fixtures=images/fixtures
readonly programs=build/fixtures/programs

main() {
  scripts/base-image.sh
  compile_programs
  build_fixture programs "$programs"
  local name
  for name in redis nginx postgres protocols; do build_fixture "$name" "$fixtures/$name"; done
}

# Static, so that the image needs no libc; one source a program, control.c in all of them.
compile_programs() {
  local source program
  mkdir -p "$programs"
  for source in "$fixtures"/programs/*.c; do
    program=$programs/$(basename "$source" .c)
    if [ "$source" = "$fixtures/programs/control.c" ] || is_newer "$program" "$source"; then continue; fi
    gcc -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static -s -o "$program" \
      "$source" "$fixtures/programs/control.c" -lpthread
  done
}

# is_newer PROGRAM SOURCE: nothing to compile.
is_newer() {
  [ "$1" -nt "$2" ] && [ "$1" -nt "$fixtures/programs/control.c" ] &&
    [ "$1" -nt "$fixtures/programs/control.h" ]
}

build_fixture() { # NAME CONTEXT
  local image=ums-fixture/$1:latest digest
  digest=$(inputs_of "$fixtures/$1")
  if image_is_current "$image" "$digest"; then
    log "$image is current"
    return
  fi
  docker_build --build-arg BASE=ums/base:trixie --label ums.fixture=1 --label "ums.inputs=$digest" \
    --tag "$image" --file "$fixtures/$1/Dockerfile" "$2"
  log "$image: $(docker image inspect --format '{{.Size}}' "$image" | numfmt --to=si)B"
}

main

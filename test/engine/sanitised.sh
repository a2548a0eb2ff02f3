#!/usr/bin/env bash
# Tests with every access to memory of the native operations checked, and undefined behaviour said: by g++ on Linux, in some
# minutes. Fetches TensorFlow once into a cache of its own; what was found is printed, and fails it.
#
#     test/engine/sanitised.sh [FILE …]      vitest's arguments; without any, the tests of the operations and of the networks
set -euo pipefail
cd "$(dirname "$0")/../.."

export XDG_CACHE_HOME=${TMPDIR:-/tmp}/undistill-sanitised
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT

# Only our own operations are looked at: what the binding of TensorFlow.js does is not ours.
export CXX=$found/c++
cat >"$CXX" <<'END'
#!/usr/bin/env bash
unset LD_PRELOAD
case "$*" in
*/native/*) exec g++ "$@" -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize=vptr,alignment -fsanitize-recover=address,undefined ;;
*) exec g++ "$@" ;;
esac
END
chmod +x "$CXX"

export ASAN_OPTIONS=detect_leaks=0:alloc_dealloc_mismatch=0:suppress_equal_pcs=0:halt_on_error=0:log_path=$found/memory
export UBSAN_OPTIONS=print_stacktrace=1:log_path=$found/undefined
sanitised() { LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)" "$@"; }

[ $# -gt 0 ] || set -- test/engine/ops test/models
sanitised node bin/undistill.js engine install
status=0
sanitised npx vitest run "$@" --maxWorkers=1 || status=$?
for log in "$found"/memory.* "$found"/undefined.*; do
  [ -e "$log" ] || continue
  head -c 20000 "$log"
  status=1
done
exit "$status"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Who may include whom. Layers: 0 common/base; 1 conf, text, tensor; 2 the rest of common; 3 the daemons; 4 deploy and
# tests. A file includes its own folder and lower layers; inside layer 2 sideways too; daemons never each other. Each
# third-party header has one home (tests may include any, to look from outside). Everything else in <> must be libc's.
. "$(dirname "$0")/files.sh"

lint_files '*.c' '*.h' | grep -v '\.pb-c\.' | tr '\n' '\0' | xargs -0 awk '
BEGIN {
  home["cblas.h"] = "common/tensor/"
  home["zmq.h"] = home["zmq_utils.h"] = "common/net/"
  home["yaml.h"] = "common/conf/"
  home["pcre2.h"] = "common/text/"
  home["microhttpd.h"] = "common/obs/"
  home["jansson.h"] = "common/base/json"
  home["zstd.h"] = "common/ckpt/delta"
  home["lmdb.h"] = "replay/store"
  home["xxhash.h"] = "common/base/hash"
  home["sodium.h"] = "common/base/hash"
  home["immintrin.h"] = home["arm_neon.h"] = "common/tensor/"
  home["uv.h"] = "common/net/ common/obs/ common/svc/ actor/ reward/ replay/ learner/ deploy/ctl/"
  home["cmocka.h"] = "tests/"
  n = split("assert complex ctype errno execinfo fcntl fenv float ftw getopt glob inttypes libgen limits locale malloc math netdb poll " \
            "pthread pwd sched setjmp signal spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn " \
            "string strings termios time tgmath threads uchar unistd wchar wctype dirent dlfcn sysexits syslog cpuid", names, " ")
  for (i = 1; i <= n; i++) libc[names[i] ".h"] = 1
}
function folder(path) {  # "common/base", "actor", "deploy/ctl", "tests"
  if (path ~ /^(common|deploy)\/[^\/]+\//) { split(path, p, "/"); return p[1] "/" p[2] }
  sub(/\/.*/, "", path)
  return path
}
function rank(f) {
  if (f == "common/base") return 0
  if (f ~ /^common\/(conf|text|tensor)$/) return 1
  if (f ~ /^common\//) return 2
  if (f ~ /^(actor|reward|replay|learner)$/) return 3
  return 4
}
function complain(what) { printf "%s:%d: %s\n", FILENAME, FNR, what; bad = 1 }
function lives_in(homes,   list, k, count) {
  count = split(homes, list, " ")
  for (k = 1; k <= count; k++) if (index(FILENAME, list[k]) == 1) return 1
  return 0
}
FNR == 1 { me = folder(FILENAME); mine = rank(me) }
/^[ \t]*#[ \t]*include[ \t]*"/ {
  split($0, part, "\""); path = part[2]
  if (path ~ /\.pb-c\.h$/) { if (me != "common/wire" && me != "tests") complain(path ": generated messages are seen by common/wire only"); next }
  other = folder(path)
  if (path !~ /\//) complain("\"" path "\": include by path from the top of the tree")
  else if (other == me) next
  else if (other == "tests") { if (me != "tests") complain(path ": product code does not include tests") }
  else if (rank(other) > mine) complain(path ": " me " (layer " mine ") may not include " other " (layer " rank(other) ")")
  else if (rank(other) == mine && mine != 2 && mine != 4) complain(path ": " me " and " other " are in one layer and never include each other")
}
/^[ \t]*#[ \t]*include[ \t]*</ {
  path = $0; sub(/^[^<]*</, "", path); sub(/>.*/, "", path)
  if (me == "tests") next
  if (path ~ /^protobuf-c\//) where = "common/wire/"
  else if (path ~ /^sodium\//) where = "common/base/hash"
  else if (path ~ /^systemd\//) where = "deploy/ctl/bus"
  else if (path in home) where = home[path]
  else {
    if (!(path in libc) && path !~ /^(sys|netinet|arpa|net|linux|bits|asm|sanitizer)\//) complain("<" path ">: unknown header; give it a home in tests/lint/layers.sh")
    next
  }
  if (!lives_in(where)) complain("<" path ">: lives in " where " only")
}
END { exit bad }'

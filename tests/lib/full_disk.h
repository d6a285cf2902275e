// SPDX-License-Identifier: Apache-2.0
// A full disk without root: no file of this process may grow past a size; writes beyond it fail with EFBIG, after a short
// write where some bytes still fit, as on a file system without space.
#ifndef AGRL_TESTS_FULL_DISK_H
#define AGRL_TESTS_FULL_DISK_H

#include <signal.h>
#include <sys/resource.h>

static inline int full_disk_limit(rlim_t bytes) {
  struct rlimit l;
  signal(SIGXFSZ, SIG_IGN);  // else the first such write kills
  if (getrlimit(RLIMIT_FSIZE, &l) != 0) return -1;
  l.rlim_cur = bytes < l.rlim_max ? bytes : l.rlim_max;
  return setrlimit(RLIMIT_FSIZE, &l);
}

static inline int full_disk_end(void) { return full_disk_limit(RLIM_INFINITY); }

#endif

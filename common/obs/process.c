// SPDX-License-Identifier: Apache-2.0
// The standard process_* metrics, read from /proc at every scrape. What cannot be read is left out, not made up.
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/obs/metric_impl.h"

static void expose(agrl_buf *out, const char *name, const char *type, const char *help, double v) {
  agrl_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n%s ", name, help, name, type, name);
  obs_number(out, v);
  agrl_buf_addc(out, '\n');
}

// Reads a small file; false when it cannot be.
static int read_text(const char *path, char *text, size_t cap) {
  FILE *f = fopen(path, "re");
  if (f == NULL) return 0;
  size_t n = fread(text, 1, cap - 1, f);
  fclose(f);
  text[n] = '\0';
  return n > 0;
}

static double boot_time_seconds(void) {
  FILE *f = fopen("/proc/stat", "re");
  if (f == NULL) return 0;
  char line[4096];
  unsigned long long t = 0;
  while (fgets(line, sizeof line, f) != NULL && sscanf(line, "btime %llu", &t) != 1) continue;
  fclose(f);
  return (double)t;
}

static void expose_stat(agrl_buf *out) {
  char text[2048];
  if (!read_text("/proc/self/stat", text, sizeof text)) return;
  const char *p = strrchr(text, ')');  // the command name may hold anything
  unsigned long long utime, stime, start, vsize;
  long long rss;
  if (p == NULL || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu"
                                 " %*d %*d %*d %*d %*d %*d %llu %llu %lld",
                          &utime, &stime, &start, &vsize, &rss) != 5)
    return;
  double tick = (double)sysconf(_SC_CLK_TCK), boot = boot_time_seconds();
  expose(out, "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
         (double)(utime + stime) / tick);
  expose(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", (double)vsize);
  expose(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
         (double)rss * (double)sysconf(_SC_PAGESIZE));
  if (boot > 0)
    expose(out, "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.",
           boot + (double)start / tick);
}

void obs_process_expose(agrl_buf *out) {
  expose_stat(out);
  DIR *d = opendir("/proc/self/fd");
  if (d != NULL) {
    double n = -1;  // the directory's own descriptor
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) n += e->d_name[0] != '.';
    closedir(d);
    expose(out, "process_open_fds", "gauge", "Number of open file descriptors.", n);
  }
  struct rlimit lim;
  if (getrlimit(RLIMIT_NOFILE, &lim) == 0)
    expose(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.", (double)lim.rlim_cur);
}

// SPDX-License-Identifier: Apache-2.0
// Incremental reading of metrics.jsonl.
#include "deploy/ctl/series.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/mem.h"

static double number(const agrl_json *j, const char *key) {
  double v = NAN;
  agrl_json_f64(agrl_json_get(j, key), &v);
  return v;
}

static void add(ctl_series *s, const ctl_point *p) {
  while (s->n && s->points[s->n - 1].rl == p->rl && s->points[s->n - 1].step >= p->step) s->n--;
  while (s->n && s->points[s->n - 1].rl && !p->rl) s->n--;
  if (s->n == s->cap) {
    s->cap = s->cap ? 2 * s->cap : 256;
    s->points = agrl_xreallocarray(s->points, s->cap, sizeof *s->points);
  }
  s->points[s->n++] = *p;
}

static void read_line(ctl_series *s, const char *line, size_t len) {
  agrl_json *j = NULL;
  const char *phase = NULL;
  if (!len) return;
  if (agrl_json_parse(line, len, "metrics.jsonl", &j, NULL) || !agrl_json_str(agrl_json_get(j, "phase"), &phase,
      NULL)) {
    s->bad++;
    agrl_json_free(j);
    return;
  }
  ctl_point p = {.rl = !strcmp(phase, "rl")};
#define CTL_SERIES_READ(name) p.name = number(j, #name);
  CTL_SERIES_MAP(CTL_SERIES_READ)
#undef CTL_SERIES_READ
  if (p.rl || !strcmp(phase, "sft")) add(s, &p);
  agrl_json_free(j);
}

agrl_rc ctl_series_read(ctl_series *s, const char *path, agrl_error *err) {
  FILE *f = fopen(path, "re");
  if (!f) return errno == ENOENT ? AGRL_OK : agrl_fail(err, AGRL_EIO, "%s: %s", path, strerror(errno));
  if (fseeko(f, 0, SEEK_END) == 0 && ftello(f) < s->offset) s->offset = 0, s->n = 0;  // a new file
  char *line = NULL;
  size_t cap = 0;
  ssize_t len;
  agrl_rc rc = fseeko(f, s->offset, SEEK_SET) ? agrl_fail(err, AGRL_EIO, "%s: %s", path, strerror(errno)) : AGRL_OK;
  while (!rc && (len = getline(&line, &cap, f)) > 0 && line[len - 1] == '\n') {  // a half-written last line waits
    read_line(s, line, (size_t)len - 1);
    s->offset += len;
  }
  free(line);
  fclose(f);
  return rc;
}

void ctl_series_release(ctl_series *s) {
  free(s->points);
  *s = (ctl_series){0};
}

const ctl_point *ctl_series_last(const ctl_series *s) { return s->n ? &s->points[s->n - 1] : NULL; }

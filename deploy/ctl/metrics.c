// SPDX-License-Identifier: Apache-2.0
// The supervisor's metrics. An evaluation counts when it is of the newest version evaluated: older results on other splits
// would look like one model's scores and are not shown.
#include "deploy/ctl/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/json.h"
#include "common/base/mem.h"
#include "deploy/ctl/ctl.h"

#define LOOK_NS (2 * UINT64_C(1000000000))
#define TIERS 4

static const char *const states[] = {"joining", "stale", "serving", "suspect", "draining", "dead", NULL};
enum { JOINING, STALE, SERVING, SUSPECT, DRAINING, DEAD, N_STATES };
static const char *const others[] = {"reward", "replay", "learner", NULL};
static const char *const scores[] = {"accuracy", "macro_f1", "good_f1", "rule_adherence", "ndcg", NULL};
static const char *const keys[] = {"accuracy", "macro_f1", "good_f1", "rule_adherence", "ndcg10"};
enum { N_SCORES = sizeof keys / sizeof *keys };
static const char *const tiers[] = {"1", "2", "3", "4", NULL};
static const char *const predictions[] = {"1", "2", "3", "4", "unreadable", NULL};

static const agrl_metric_desc descs[] = {
    {.name = "agrl_actors", .help = "Actors of this job by state; stale is known to the actor alone and NaN here.", .type = AGRL_GAUGE,
     .label = "state", .values = states},
    {.name = "agrl_actor_restarts_total", .help = "Actors started again after an exit.", .type = AGRL_COUNTER},
    {.name = "agrl_supervisor_restarts_total", .help = "Other processes started again after an exit.", .type = AGRL_COUNTER,
     .label = "process", .values = others},
    {.name = "agrl_eval_policy_version", .help = "Newest version evaluated, epoch * 2^32 + step; agrl_eval metrics are of it.",
     .type = AGRL_GAUGE},
    {.name = "agrl_eval_tier_recall", .help = "Recall by gold tier, on the first split (of data.dev, data.eval).", .type = AGRL_GAUGE,
     .label = "tier", .values = tiers},
    {.name = "agrl_eval_confusion_total", .help = "Items of evaluations on the first split (of data.dev, data.eval), by gold and predicted tier.",
     .type = AGRL_COUNTER, .label = "gold", .values = tiers, .label2 = "pred", .values2 = predictions},
};

static void find_splits(ctl_metrics *m, const char *list) {
  for (char *file; m->n_splits < CTL_SPLITS_MAX && (file = ctl_eval_next_file(&list)); free(file)) m->splits[m->n_splits++] = ctl_eval_split(file);
  if (!m->n_splits) m->splits[m->n_splits++] = agrl_xstrdup("eval");
}

void ctl_metrics_register(ctl_metrics *m, const agrl_config *config) {
  *m = (ctl_metrics){.run_dir = config->run.dir};
  char *files = ctl_eval_files(config);
  find_splits(m, files);
  free(files);
  m->actors = agrl_metric_register(&descs[0]);
  m->actor_restarts = agrl_metric_register(&descs[1]);
  m->restarts = agrl_metric_register(&descs[2]);
  m->version = agrl_metric_register(&descs[3]);
  m->recall = agrl_metric_register(&descs[4]);
  m->confusion = agrl_metric_register(&descs[5]);
  m->score_desc = (agrl_metric_desc){.name = "agrl_eval_score", .help = "Score of the newest version evaluated, by measure and split.",
                                     .type = AGRL_GAUGE, .label = "metric", .values = scores, .label2 = "split",
                                     .values2 = (const char *const *)m->splits};
  m->score = agrl_metric_register(&m->score_desc);
  ctl_metrics_evaluations_now(m);
}

void ctl_metrics_release(ctl_metrics *m) {
  for (size_t i = 0; i < m->n_splits; i++) free(m->splits[i]);
  m->n_splits = 0;
}

static int state_of(const ctl_proc *p) {
  switch (p->state) {
    case CTL_PROC_RUNNING: return p->ready ? SERVING : p->was_ready ? SUSPECT : JOINING;
    case CTL_PROC_BACKOFF: return DEAD;
    case CTL_PROC_STOPPING: return DRAINING;
    case CTL_PROC_STOPPED: break;
  }
  return -1;  // left the job
}

void ctl_metrics_states(ctl_metrics *m, const ctl_proc *procs, size_t n) {
  double count[N_STATES] = {0};
  for (size_t i = 0; i < n; i++) {
    int state = procs[i].kind == CTL_KIND_ACTOR ? state_of(&procs[i]) : -1;
    if (state >= 0) count[state]++;
  }
  for (size_t k = 0; k < N_STATES; k++) agrl_metric_set(m->actors, k, k == STALE ? (double)NAN : count[k]);
}

void ctl_metrics_restarted(ctl_metrics *m, ctl_proc_kind kind) {
  if (kind == CTL_KIND_ACTOR) agrl_metric_add(m->actor_restarts, 0, 1);
  else agrl_metric_add(m->restarts, (size_t)(kind - CTL_KIND_REWARD), 1);
}

// ---- evaluations

typedef struct result {
  agrl_json *doc;
  uint64_t version, stamp;  // stamp: of the file, by its name and time
  int64_t time_ns;
} result;

static uint64_t stamp_of(const char *path, int64_t *time_ns) {
  struct stat st;
  if (stat(path, &st)) return 0;
  *time_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
  return agrl_hash64(path, strlen(path)) ^ (uint64_t)*time_ns * UINT64_C(0x9e3779b97f4a7c15);
}

static bool is_split(const result *r, const char *split) {
  const char *name;
  return agrl_json_str(agrl_json_get(r->doc, "split"), &name, NULL) && !strcmp(name, split);
}

// False for what is no evaluation of a split of data.eval.
static bool load(const ctl_metrics *m, const char *path, result *r) {
  int64_t step, epoch;
  *r = (result){0};
  r->stamp = stamp_of(path, &r->time_ns);
  if (agrl_json_load(path, &r->doc, NULL)) return false;  // eval files are replaced whole; a foreign one is passed over
  bool known = false;
  for (size_t s = 0; s < m->n_splits; s++) known |= is_split(r, m->splits[s]);
  if (known && agrl_json_i64(agrl_json_get(r->doc, "version"), &step) && agrl_json_i64(agrl_json_get(r->doc, "epoch"), &epoch)) {
    r->version = (uint64_t)epoch << 32 | (uint64_t)step;
    return true;
  }
  agrl_json_free(r->doc);
  return false;
}

static const result *newest(const result *r, size_t n, uint64_t version, const char *split) {
  const result *best = NULL;
  for (size_t i = 0; i < n; i++)
    if (r[i].version == version && is_split(&r[i], split) && (!best || r[i].time_ns > best->time_ns)) best = &r[i];
  return best;
}

static double number(const agrl_json *doc, const char *key) {
  double v = NAN;
  agrl_json_f64(agrl_json_get(doc, key), &v);
  return v;
}

static void add_confusion(ctl_metrics *m, const result *r) {
  if (m->counted == r->stamp) return;
  m->counted = r->stamp;
  for (size_t g = 0; g < TIERS; g++)
    for (size_t p = 0; p <= TIERS; p++) {
      const agrl_json *row = agrl_json_at(agrl_json_get(r->doc, "confusion"), g);
      int64_t items = 0;
      agrl_json_i64(p < TIERS ? agrl_json_at(row, p) : agrl_json_at(agrl_json_get(r->doc, "unreadable"), g), &items);
      if (items > 0) agrl_metric_add(m->confusion, g * (TIERS + 1) + p, (double)items);
    }
}

static void show(ctl_metrics *m, const result *all, size_t n, uint64_t version) {
  agrl_metric_set(m->version, 0, (double)version);
  for (size_t s = 0; s < m->n_splits; s++) {
    const result *r = newest(all, n, version, m->splits[s]);
    for (size_t k = 0; k < N_SCORES; k++) agrl_metric_set(m->score, k * m->n_splits + s, r ? number(r->doc, keys[k]) : (double)NAN);
    if (s > 0) continue;
    const agrl_json *recall = r ? agrl_json_get(r->doc, "recall") : NULL;
    for (size_t t = 0; t < TIERS; t++) agrl_metric_set(m->recall, t, number(recall, tiers[t]));
    if (r) add_confusion(m, r);
  }
}

void ctl_metrics_evaluations_now(ctl_metrics *m) {
  glob_t found;
  uint64_t seen = 0, version = 0;
  size_t n = 0;
  int64_t time_ns;
  ctl_glob(m->run_dir, "eval/*/*.json", &found);
  m->looked_ns = agrl_mono_ns();
  for (size_t i = 0; i < found.gl_pathc; i++) seen ^= stamp_of(found.gl_pathv[i], &time_ns);
  if (seen != m->seen) {
    result *all = agrl_xcalloc(found.gl_pathc, sizeof *all);
    for (size_t i = 0; i < found.gl_pathc; i++) n += load(m, found.gl_pathv[i], &all[n]);
    for (size_t i = 0; i < n; i++)
      if (all[i].version > version) version = all[i].version;
    if (n) show(m, all, n, version);
    for (size_t i = 0; i < n; i++) agrl_json_free(all[i].doc);
    free(all);
    m->seen = seen;
  }
  globfree(&found);
}

void ctl_metrics_evaluations(ctl_metrics *m) {
  if (agrl_mono_ns() - m->looked_ns >= LOOK_NS) ctl_metrics_evaluations_now(m);
}

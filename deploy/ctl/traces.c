// SPDX-License-Identifier: Apache-2.0
// agrlctl traces: the replay store as one self-contained HTML file to look into. Reads the store while the job runs.
#include "deploy/ctl/traces.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "deploy/ctl/ctl.h"
#include "replay/store.h"

#define DEFAULT_LIMIT 20000
#define MAX_RULES_BYTES (1u << 20)

static const char usage[] =
    "usage: agrlctl traces [-o FILE] [--limit N] [--run-dir DIR | --config FILE]\n"
    "Writes the traces of the replay store as one HTML file for a browser, without a server: filters, log-probs and versions of\n"
    "each token, rewards with their rules, the group's other traces, the guidance. FILE is by default RUN/traces.html; the newest\n"
    "N traces are written (20000), whole groups and at least one. Works while the job runs.\n";

// How many traces each group has in the store, ascending by group.
typedef struct counts {
  size_t n, cap;
  struct { uint64_t group, traces; } *v;
  uint64_t total;
} counts;

static bool count(void *user, const replay_trace_key *k, const void *data, size_t len) {
  (void)data, (void)len;
  counts *c = user;
  if (!c->n || c->v[c->n - 1].group != k->group) {
    if (c->n == c->cap) {
      c->cap = c->cap ? 2 * c->cap : 1024;
      c->v = agrl_xreallocarray(c->v, c->cap, sizeof *c->v);
    }
    c->v[c->n++].group = k->group;
    c->v[c->n - 1].traces = 0;
  }
  c->v[c->n - 1].traces++;
  c->total++;
  return true;
}

typedef struct collector {
  traces_page *page;
  replay_group_rec group;
  size_t bad;
} collector;

static bool collect(void *user, const replay_trace_key *k, const void *data, size_t len) {
  (void)k;
  collector *c = user;
  agrl_arena arena;
  agrl_msg_scored s;
  agrl_arena_init(&arena, 0);
  if (agrl_scored_unpack(data, len, &arena, &s, NULL)) c->bad++;
  else traces_page_trace(c->page, &c->group, &s);
  agrl_arena_release(&arena);
  return true;
}

// The groups whose traces are among the newest `limit`, whole ones only, and the newest group whatever its size.
static agrl_rc read_store(replay_store *store, uint64_t limit, traces_page *page, const counts *all, size_t *bad, agrl_error *err) {
  size_t from = all->n;
  for (uint64_t n = 0; from > 0 && (!n || n + all->v[from - 1].traces <= limit); from--) n += all->v[from - 1].traces;
  collector c = {.page = page};
  agrl_rc rc = AGRL_OK;
  for (size_t i = from; i < all->n && !rc; i++) {
    if (replay_store_get_group(store, all->v[i].group, &c.group, NULL)) {  // purged meanwhile, or it does not decode
      c.bad += all->v[i].traces;
      continue;
    }
    traces_page_group(page, &c.group);
    rc = replay_store_each_trace(store, all->v[i].group, collect, &c, err);
  }
  *bad = c.bad;
  return rc;
}

typedef struct inputs {
  agrl_bpe *bpe;
  agrl_rules *rules;
  agrl_task_text *text;
  agrl_dataset data;
  agrl_buf rules_text;
} inputs;

static void ignore_row(void *user, const char *message) { (void)user, (void)message; }

// Rule file and data explain more, and may be gone: their absence is told, not fatal.
static agrl_rc open_inputs(const ctl_job *job, inputs *in, agrl_error *err) {
  char *path = ctl_job_path(job, "checkpoints/tokenizer.json");
  agrl_error why = {0};
  const char *rules = job->config.data.rules;
  agrl_rc rc = agrl_bpe_load(path, &in->bpe, err);
  free(path);
  if (rc) return rc;
  bool ok = *rules && !agrl_rules_load(rules, &in->rules, &why) && !agrl_task_text_load(rules, &in->text, &why) &&
            !agrl_file_read(rules, MAX_RULES_BYTES, &in->rules_text, &why);
  if (!ok) fprintf(stderr, "agrlctl: the page will not explain rewards: %s\n", *rules ? why.msg : "the job names no rule file");
  if (agrl_dataset_load(job->config.data.train, ignore_row, NULL, &in->data, &why))
    fprintf(stderr, "agrlctl: the page will not show guidance: %s\n", why.msg);
  return AGRL_OK;
}

static void release_inputs(inputs *in) {
  agrl_bpe_free(in->bpe);
  agrl_rules_free(in->rules);
  agrl_task_text_free(in->text);
  agrl_dataset_release(&in->data);
  agrl_buf_release(&in->rules_text);
}

static agrl_rc write_page(const ctl_job *job, replay_store *store, const char *path, uint64_t limit, agrl_error *err) {
  inputs in = {0};
  counts all = {0};
  size_t bad = 0;
  agrl_buf html = {0};
  agrl_rc rc = replay_store_each_trace(store, 0, count, &all, err);
  if (!rc && !all.n) rc = agrl_fail(err, AGRL_ENOENT, "%s/replay holds no trace yet", job->config.run.dir);
  if (!rc) rc = open_inputs(job, &in, err);
  if (!rc) {
    char *about = agrl_xasprintf("%s, %s", job->config.run.name, job->config.run.dir);
    traces_source source = {.bpe = in.bpe, .rules = in.rules, .rules_text = in.rules_text.data, .text = in.text,
                            .data = in.data.n ? &in.data : NULL, .mode = job->config.reward.mode, .gate = job->config.reward.gate,
                            .about = about, .total = all.total};
    traces_page *page = traces_page_new(&source);
    rc = read_store(store, limit, page, &all, &bad, err);
    if (!rc) traces_page_write(page, &html);
    if (!rc) rc = agrl_file_write_atomic(path, html.data, html.len, err);
    if (!rc)
      printf("agrlctl: %zu of %" PRIu64 " traces in %s (%.1f MiB)\n", traces_page_count(page), all.total, path, (double)html.len / 1048576);
    if (bad) fprintf(stderr, "agrlctl: %zu traces could not be read\n", bad);
    traces_page_free(page);
    free(about);
  }
  agrl_buf_release(&html);
  release_inputs(&in);
  free(all.v);
  return rc;
}

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"config", 1, 0, 'c'}, {"run-dir", 1, 0, 'D'}, {"limit", 1, 0, 'l'}, {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
  const char *config = NULL, *run_dir = NULL, *out = NULL;
  uint64_t limit = DEFAULT_LIMIT;
  for (int k; (k = getopt_long(argc, argv, "o:h", longs, NULL)) != -1;) switch (k) {
      case 'c': config = optarg; break;
      case 'D': run_dir = optarg; break;
      case 'o': out = optarg; break;
      case 'l':
        if (!agrl_parse_u64(optarg, &limit) || !limit) return ctl_usage(&ctl_cmd_traces, "--limit: '%s' is not a number above 0", optarg);
        break;
      case 'h': return ctl_help(&ctl_cmd_traces);
      default: return ctl_bad_option(&ctl_cmd_traces);
    }
  if (optind < argc) return ctl_usage(&ctl_cmd_traces, "unexpected '%s'", argv[optind]);
  agrl_error err = {0};
  ctl_job job;
  replay_store *store = NULL;
  if (ctl_job_open(&job, config, run_dir, &err)) return ctl_fail(&err);
  char *dir = ctl_job_path(&job, "replay"), *path = out ? agrl_xstrdup(out) : ctl_job_path(&job, "traces.html");
  agrl_rc rc = replay_store_open_readonly(&store, dir, &err);
  if (!rc) rc = write_page(&job, store, path, limit, &err);
  replay_store_close(store);
  free(dir);
  free(path);
  ctl_job_release(&job);
  return rc ? ctl_fail(&err) : 0;
}

const ctl_command ctl_cmd_traces = {"traces", "write the traces as an HTML page to look into", usage, run};

// SPDX-License-Identifier: Apache-2.0
// agrlctl status and top: the supervisor's processes, what the services say of themselves, the newest training numbers.
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/json.h"
#include "common/base/num.h"
#include "deploy/ctl/ctl.h"
#include "deploy/ctl/view.h"

static const char status_usage[] =
    "usage: agrlctl status [--run-dir DIR | --config FILE] [-o json]\n"
    "Processes, services and training progress of a running job. Exit code 69 when none is running.\n";
static const char top_usage[] =
    "usage: agrlctl top [--run-dir DIR | --config FILE] [--interval SECONDS] [--once]\n"
    "The same as a table that is refreshed; Ctrl-C ends it (not the job).\n";

static const char *const services[] = {"reward", "replay", "weights"};  // endpoints; the learner answers on weights
enum { N_SERVICES = 3 };

typedef struct snapshot {
  agrl_arena arena;
  agrl_msg control, service[N_SERVICES];
  bool answered[N_SERVICES];
  ctl_series series;
} snapshot;

typedef struct process {
  const char *name;
  char state[16];
  int pid, exit_code;
  unsigned restarts;
  double uptime;
} process;

// Where a process serves its pages: control +0, replay +1, reward +2, learner +3, actor I +10+I.
static int http_port(const ctl_job *job, const char *name) {
  static const char *const names[] = {"replay", "reward", "learner"};
  int base = (int)job->config.obs.http_port, index;
  if (!base) return 0;
  for (int i = 0; i < 3; i++)
    if (!strcmp(name, names[i])) return base + 1 + i;
  return sscanf(name, "actor-%d", &index) == 1 ? base + 10 + index : 0;
}

// 1 ready, 0 not, -1 unknown.
static int is_ready(const ctl_job *job, const process *p) {
  if (strcmp(p->state, "running")) return 0;
  return ctl_probe_ready(job->config.obs.http_host, http_port(job, p->name));
}

static bool read_process(const agrl_kv *kv, process *p) {
  if (strncmp(kv->key, "process.", 8)) return false;
  p->name = kv->key + 8;
  return sscanf(kv->value, "%15s %d %u %lf %d", p->state, &p->pid, &p->restarts, &p->uptime, &p->exit_code) == 5;
}

static agrl_rc take(const ctl_job *job, snapshot *s, agrl_error *err) {
  *s = (snapshot){0};
  agrl_arena_init(&s->arena, 0);
  agrl_rc rc = ctl_control(job, "status", "", 2000, &s->arena, &s->control, err);
  if (rc) return rc;
  for (size_t i = 0; i < N_SERVICES; i++)
    s->answered[i] = !ctl_service_status(job, services[i], 1000, &s->arena, &s->service[i], NULL) &&
        s->service[i].kind == AGRL_MSG_STATUS;
  char *path = ctl_job_path(job, "metrics.jsonl");
  ctl_series_read(&s->series, path, NULL);
  free(path);
  return AGRL_OK;
}

static void drop(snapshot *s) {
  agrl_arena_release(&s->arena);
  ctl_series_release(&s->series);
}

static void value_json(agrl_jw *w, const char *key, const char *text) {
  double v;
  if (!strcmp(text, "true") || !strcmp(text, "false")) agrl_jw_kbool(w, key, *text == 't');
  else if (agrl_parse_f64(text, &v)) agrl_jw_kf64(w, key, v);
  else agrl_jw_kstr(w, key, text);
}

static void training_json(agrl_jw *w, const ctl_series *s) {
  const ctl_point *p = ctl_series_last(s);
  agrl_jw_key(w, "training");
  if (!p) {
    agrl_jw_null(w);
    return;
  }
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "phase", p->rl ? "rl" : "sft");
#define PUT(name) agrl_jw_kf64(w, #name, p->name);
  CTL_SERIES_MAP(PUT)
#undef PUT
  agrl_jw_kf64(w, "steps_per_second", ctl_series_rate(s));
  agrl_jw_end_obj(w);
}

static void print_json(const ctl_job *job, const snapshot *s) {
  agrl_buf out = {0};
  agrl_jw w;
  agrl_jw_init(&w, &out);
  agrl_jw_obj(&w);
  const agrl_msg_status *c = &s->control.status;
  for (size_t i = 0; i < c->n; i++)
    if (strncmp(c->items[i].key, "process.", 8)) value_json(&w, c->items[i].key, c->items[i].value);
  agrl_jw_key(&w, "processes");
  agrl_jw_arr(&w);
  for (size_t i = 0; i < c->n; i++) {
    process p;
    if (!read_process(&c->items[i], &p)) continue;
    agrl_jw_obj(&w);
    agrl_jw_kstr(&w, "name", p.name);
    agrl_jw_kstr(&w, "state", p.state);
    int ready = is_ready(job, &p);
    agrl_jw_key(&w, "ready");
    if (ready < 0) agrl_jw_null(&w);
    else agrl_jw_bool(&w, ready);
    agrl_jw_ki64(&w, "pid", p.pid);
    agrl_jw_ku64(&w, "restarts", p.restarts);
    agrl_jw_kf64(&w, "uptime_seconds", p.uptime);
    agrl_jw_ki64(&w, "last_exit_code", p.exit_code);
    agrl_jw_end_obj(&w);
  }
  agrl_jw_end_arr(&w);
  agrl_jw_key(&w, "services");
  agrl_jw_obj(&w);
  for (size_t k = 0; k < N_SERVICES; k++) {
    const agrl_msg_status *v = &s->service[k].status;
    agrl_jw_key(&w, s->answered[k] ? v->service : services[k]);
    if (!s->answered[k]) {
      agrl_jw_null(&w);
      continue;
    }
    agrl_jw_obj(&w);
    for (size_t i = 0; i < v->n; i++) value_json(&w, v->items[i].key, v->items[i].value);
    agrl_jw_end_obj(&w);
  }
  agrl_jw_end_obj(&w);
  training_json(&w, &s->series);
  agrl_jw_end_obj(&w);
  puts(out.data);
  agrl_buf_release(&out);
}

static void print_text(const ctl_job *job, const snapshot *s) {
  const agrl_msg_status *c = &s->control.status;
  char up[32];
  double seconds = NAN;
  const char *text = ctl_kv(c, "uptime_seconds");
  if (text) agrl_parse_f64(text, &seconds);
  ctl_duration_text(seconds, up);
  printf("job %s: %s, up %s\n\n%-12s %-9s %-6s %8s %9s %9s\n", job->config.run.dir,
         ctl_kv(c, "state") ? ctl_kv(c, "state") : "?", up, "PROCESS",
         "STATE", "READY", "PID", "RESTARTS", "UP");
  for (size_t i = 0; i < c->n; i++) {
    process p;
    if (!read_process(&c->items[i], &p)) continue;
    ctl_duration_text(p.uptime, up);
    int ready = is_ready(job, &p);
    printf("%-12s %-9s %-6s %8d %9u %9s\n", p.name, p.state, ready < 0 ? "?" : ready ? "yes" : "no", p.pid, p.restarts,
           p.pid ? up : "-");
  }
  putchar('\n');
  for (size_t k = 0; k < N_SERVICES; k++) {
    const agrl_msg_status *v = &s->service[k].status;
    printf("%-12s", s->answered[k] ? v->service : services[k]);
    if (!s->answered[k]) printf(" does not answer");
    for (size_t i = 0; s->answered[k] && i < v->n; i++)
      printf("%s %s=%s", i && i % 6 == 0 ? "\n            " : "", v->items[i].key, v->items[i].value);
    putchar('\n');
  }
  ctl_view view = {.config = &job->config, .series = s->series};
  agrl_buf line = {0};
  ctl_view_line(&view, &line);
  char *end = strstr(line.data, " actors=");  // the table above says it better
  if (end) *end = 0;
  printf("%-12s %s\n", "training", line.data);
  agrl_buf_release(&line);
}

typedef struct options {
  const char *config, *run_dir;
  double interval;
  bool json, once;
} options;

static int parse(const ctl_command *c, int argc, char **argv, const char *allowed, options *o) {
  static const struct option longs[] = {{"config", 1, 0, 'c'}, {"run-dir", 1, 0, 'D'}, {"interval", 1, 0, 'i'},
                                        {"once", 0, 0, '1'},
                                        {"help", 0, 0, 'h'},   {0, 0, 0, 0}};
  bool given[CTL_LETTERS] = {false};
  *o = (options){.interval = 2};
  for (int k; (k = getopt_long(argc, argv, "o:h", longs, NULL)) != -1; given[k] = true) switch (k) {
      case 'c': o->config = optarg; break;
      case 'D': o->run_dir = optarg; break;
      case '1': o->once = true; break;
      case 'i':
        if (!agrl_parse_f64(optarg, &o->interval) || o->interval < 0.1)
          return ctl_usage(c, "--interval: expected seconds, 0.1 or more");
        break;
      case 'o':
        if (strcmp(optarg, "json") && strcmp(optarg, "text"))
          return ctl_usage(c, "-o %s: expected json or text", optarg);
        o->json = !strcmp(optarg, "json");
        break;
      case 'h': return ctl_help(c), -1;
      default: return ctl_bad_option(c);
    }
  return optind == argc ? ctl_only_options(c, c->name, longs, given, allowed) : ctl_usage(c, "unexpected '%s'", argv[optind]);
}

static int show(const ctl_job *job, bool json) {
  agrl_error err = {0};
  snapshot s;
  agrl_rc rc = take(job, &s, &err);
  if (!rc && json) print_json(job, &s);
  else if (!rc) print_text(job, &s);
  drop(&s);
  return rc ? ctl_fail(&err) : 0;
}

static int run_status(int argc, char **argv) {
  options o;
  agrl_error err = {0};
  ctl_job job;
  int code = parse(&ctl_cmd_status, argc, argv, "o", &o);
  if (code) return code < 0 ? 0 : code;
  if (ctl_job_open(&job, o.config, o.run_dir, &err)) return ctl_fail(&err);
  code = show(&job, o.json);
  ctl_job_release(&job);
  return code;
}

static int run_top(int argc, char **argv) {
  options o;
  agrl_error err = {0};
  ctl_job job;
  int code = parse(&ctl_cmd_top, argc, argv, "i1", &o);
  if (code) return code < 0 ? 0 : code;
  if (ctl_job_open(&job, o.config, o.run_dir, &err)) return ctl_fail(&err);
  bool terminal = isatty(STDOUT_FILENO);
  do {
    if (terminal && !o.once) fputs("\033[H\033[2J", stdout);
    code = show(&job, false);
    fflush(stdout);
    if (!o.once && !code) usleep((useconds_t)(o.interval * 1e6));
  } while (!o.once && !code);
  ctl_job_release(&job);
  return code;
}

const ctl_command ctl_cmd_status = {"status", "processes, services and progress of a running job", status_usage,
                                    run_status};
const ctl_command ctl_cmd_top = {"top", "status as a table that is refreshed", top_usage, run_top};

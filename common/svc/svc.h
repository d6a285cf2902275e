// SPDX-License-Identifier: Apache-2.0
// The skeleton all daemons share: options -> configuration -> directories -> net -> start -> READY -> run -> drain -> exit.
//   --config FILE  --set path=value (repeatable)  --check-config  --index N (actors)  --help  --version
// SIGTERM/SIGINT: drain, then stop (a second signal stops at once). SIGHUP: reload (keys marked so; others refused by name).
// A watchdog timer asks progress(): "is work left and is nothing moving?" and logs, then fails health.
// stop() is called exactly once, after the loop, and only when start() succeeded; it closes the service's rpcs and uv
// handles, the skeleton then closes HTTP and net and runs the close callbacks. After a failed start the process just ends.
// One daemon of a name runs per run.dir (flock on run.dir/sock/<name>.lock). Strings of config stay valid across a reload.
#ifndef AGRL_SVC_SVC_H
#define AGRL_SVC_SVC_H

#include "common/conf/config.h"
#include "common/net/net.h"
#include "common/obs/http.h"
#include "common/obs/metric.h"

typedef struct agrl_svc agrl_svc;

typedef struct agrl_svc_def {
  const char *name;  // "replay"
  const char *about; // one line for --help
  int http_offset;   // port = obs.http_port + http_offset (+ index for actors); see config.h
  size_t state_bytes;
  agrl_rc (*start)(agrl_svc *s, agrl_error *err);  // open sockets, threads; s->state is zeroed
  void (*drain)(agrl_svc *s);                      // finish what is under way, then call agrl_svc_stop; NULL: stop at once
  void (*stop)(agrl_svc *s);                       // release everything
  void (*metrics)(agrl_svc *s);                    // refresh gauges before a scrape; may be NULL
  size_t (*status)(agrl_svc *s, agrl_arena *a, agrl_kv *items, size_t cap);  // for agrlctl status
  void (*reload)(agrl_svc *s);                     // s->config has the new values; may be NULL
  uint64_t (*progress)(agrl_svc *s, bool *work_left);  // a number that grows while things move; may be NULL
  agrl_rc (*check)(const agrl_config *c, agrl_error *err);  // --check-config: what the service reads beyond it; may be NULL
} agrl_svc_def;

struct agrl_svc {
  const agrl_svc_def *def;
  agrl_config config;
  int index;             // actors: instance number
  char name[64];         // "actor-0"
  uint64_t run_id;
  uv_loop_t loop;
  agrl_net *net;
  agrl_jsonl *events;    // run.dir/events.jsonl
  void *state;
  bool ready, draining;
};

int agrl_svc_main(const agrl_svc_def *def, int argc, char **argv);  // whole program; returns the exit code
void agrl_svc_ready(agrl_svc *s);               // call when serving (from start or later): READY=1, /readyz
void agrl_svc_stop(agrl_svc *s, int exit_code); // ends the loop; stop() is called after it
// Answers STATUS_REQUEST when m is one (true). Every service calls it first in its socket callback.
bool agrl_svc_handle_status(agrl_svc *s, agrl_sock *sock, const agrl_peer *peer, const agrl_msg *m);
// One line in events.jsonl: {"t":..., "svc": name, "event": event, ...}; fields are "key", value pairs of JSON text.
void agrl_svc_event(agrl_svc *s, const char *event, const char *fmt_json_members, ...) __attribute__((format(printf, 3, 4)));

#endif

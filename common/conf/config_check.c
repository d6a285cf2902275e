// SPDX-License-Identifier: Apache-2.0
// What no single row of the table can tell: keys that must agree with each other, addresses that must stay on this
// machine, and what is derived from several keys (endpoints, run id). Every message names the key and the way out.
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/conf/config_method.h"
#include "common/conf/targets.h"

enum { SUN_PATH_BYTES = 107 };

// --- addresses ---------------------------------------------------------------------------------------------------

static bool is_loopback(const char *host) {
  struct in_addr v4;
  struct in6_addr v6;
  if (strcmp(host, "localhost") == 0) return true;
  if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

// host:port or [v6]:port of a tcp endpoint, the host copied out; false when it is neither.
static bool split_host(const char *s, char host[64]) {
  const char *colon = strrchr(s, ':');
  if (!colon) return false;
  size_t len = (size_t)(colon - s);
  if (len >= 2 && s[0] == '[' && s[len - 1] == ']') s++, len -= 2;
  uint64_t port;
  if (len == 0 || len >= 64 || !agrl_parse_u64(colon + 1, &port) || port == 0 || port > 65535) return false;
  memcpy(host, s, len);
  host[len] = '\0';
  return true;
}

static agrl_rc check_endpoint(const char *key, const char *endpoint, agrl_error *err) {
  char host[64];
  if (!*endpoint) return AGRL_OK;
  if (strncmp(endpoint, "ipc://", 6) == 0) {
    size_t len = strlen(endpoint + 6);
    if (len > 0 && len <= SUN_PATH_BYTES) return AGRL_OK;
    return agrl_fail(err, AGRL_ECONFIG, "%s: \"%s\": a socket path has 1 to %d bytes", key, endpoint, SUN_PATH_BYTES);
  }
  if (strncmp(endpoint, "tcp://", 6) != 0) {
    return agrl_fail(err, AGRL_ECONFIG, "%s: \"%s\": expected ipc://PATH or tcp://127.0.0.1:PORT", key, endpoint);
  }
  if (!split_host(endpoint + 6, host)) return agrl_fail(err, AGRL_ECONFIG, "%s: \"%s\": expected tcp://HOST:PORT, PORT 1 to 65535", key, endpoint);
  if (is_loopback(host)) return AGRL_OK;
  return agrl_fail(err, AGRL_EPERM, "%s: \"%s\": addresses beyond this machine are refused until CURVE is configured; use ipc:// or tcp://127.0.0.1:PORT", key, endpoint);
}

static agrl_rc check_addresses(const agrl_config *c, agrl_error *err) {
  const struct { const char *key, *endpoint; } rows[] = {
      {"net.replay", c->net.replay},     {"net.reward", c->net.reward},   {"net.weights", c->net.weights},
      {"net.announce", c->net.announce}, {"net.control", c->net.control},
  };
  enum { N = sizeof rows / sizeof *rows };
  for (size_t i = 0; i < N; i++) {
    agrl_rc rc = check_endpoint(rows[i].key, rows[i].endpoint, err);
    if (rc) return rc;
    for (size_t j = 0; j < i; j++) {
      if (!*rows[i].endpoint || strcmp(rows[i].endpoint, rows[j].endpoint) != 0) continue;
      return agrl_fail(err, AGRL_ECONFIG, "%s: \"%s\" is the endpoint of %s already", rows[i].key, rows[i].endpoint, rows[j].key);
    }
  }
  if (!is_loopback(c->obs.http_host)) {
    return agrl_fail(err, AGRL_EPERM, "obs.http_host: \"%s\": addresses beyond this machine are refused; use 127.0.0.1, ::1 or localhost", c->obs.http_host);
  }
  int64_t last = c->obs.http_port + 10 + c->actor.count;
  if (c->obs.http_port && last > 65535) {
    return agrl_fail(err, AGRL_ECONFIG, "obs.http_port: %" PRId64 " leaves no room for %" PRId64 " actors below port 65536", c->obs.http_port, c->actor.count);
  }
  return AGRL_OK;
}

// --- keys that must agree ----------------------------------------------------------------------------------------

static agrl_rc check_model(const agrl_config *c, agrl_error *err) {
  int64_t hidden = c->model.hidden, heads = c->model.heads, kv = c->model.kv_heads;
  if (hidden % heads) return agrl_fail(err, AGRL_ECONFIG, "model.heads: %" PRId64 " does not divide model.hidden %" PRId64, heads, hidden);
  if (hidden / heads % 2) return agrl_fail(err, AGRL_ECONFIG, "model.heads: model.hidden/model.heads is %" PRId64 ", and must be even for rotary positions", hidden / heads);
  if (heads % kv) return agrl_fail(err, AGRL_ECONFIG, "model.kv_heads: %" PRId64 " does not divide model.heads %" PRId64, kv, heads);
  if (c->actor.max_new_tokens >= c->model.context) {
    return agrl_fail(err, AGRL_ECONFIG, "actor.max_new_tokens: %" PRId64 " leaves no room for a prompt in model.context %" PRId64, c->actor.max_new_tokens, c->model.context);
  }
  return AGRL_OK;
}

// The learner computes log-probs of the unfiltered distribution at temperature 1; another sampler makes their ratio wrong.
static agrl_rc check_sampler(const agrl_config *c, agrl_error *err) {
  static const char why[] = "while grpo.versions is above 0, because the learner computes the policy ratio of the unfiltered distribution at temperature 1";
  if (agrl_config_versions(c) == 0) return AGRL_OK;
  if (c->actor.temperature != 1) return agrl_fail(err, AGRL_ECONFIG, "actor.temperature: %g must be 1 %s", c->actor.temperature, why);
  if (c->actor.top_p != 1) return agrl_fail(err, AGRL_ECONFIG, "actor.top_p: %g must be 1 %s", c->actor.top_p, why);
  if (c->actor.top_k != 0) return agrl_fail(err, AGRL_ECONFIG, "actor.top_k: %" PRId64 " must be 0 %s", c->actor.top_k, why);
  return AGRL_OK;
}

static agrl_rc check_method(const agrl_config *c, agrl_error *err) {
  int64_t group = c->grpo.group_size;
  if (c->grpo.dual_clip != 0 && c->grpo.dual_clip <= 1) return agrl_fail(err, AGRL_ECONFIG, "grpo.dual_clip: %g must be above 1, or 0 for none", c->grpo.dual_clip);
  if (c->grpo.overlong == AGRL_OVERLONG_SOFT && c->grpo.overlong_buffer > c->actor.max_new_tokens) {
    return agrl_fail(err, AGRL_ECONFIG, "grpo.overlong_buffer: %" PRId64 " is more than actor.max_new_tokens %" PRId64, c->grpo.overlong_buffer, c->actor.max_new_tokens);
  }
  if (c->replay.guide_replace >= group) {
    return agrl_fail(err, AGRL_ECONFIG, "replay.guide_replace: %" PRId64 " would replace a whole group of grpo.group_size %" PRId64, c->replay.guide_replace, group);
  }
  if (c->replay.guided && c->replay.guide_replace == 0 && group < 4) {
    return agrl_fail(err, AGRL_ECONFIG, "replay.guide_replace: a quarter of grpo.group_size %" PRId64 " is none; set it, or choose a run.method without guidance", group);
  }
  if (c->replay.accuracy_low > c->replay.accuracy_high) {
    return agrl_fail(err, AGRL_ECONFIG, "replay.accuracy_low: %g is above replay.accuracy_high %g", c->replay.accuracy_low, c->replay.accuracy_high);
  }
  if (c->actor.max_unacked < group) {
    return agrl_fail(err, AGRL_ECONFIG, "actor.max_unacked: %" PRId64 " is less than one group of grpo.group_size %" PRId64, c->actor.max_unacked, group);
  }
  if (c->replay.map_max_bytes < c->replay.map_bytes) return agrl_fail(err, AGRL_ECONFIG, "replay.map_max: is less than replay.map_size");
  return AGRL_OK;
}

// The rank against a given model's matrices is checked where that model is known (common/model/lora.h).
static agrl_rc check_lora(const agrl_config *c, agrl_error *err) {
  unsigned targets;
  if (c->lora.rank == 0) return AGRL_OK;
  if (c->lora.alpha <= 0) return agrl_fail(err, AGRL_ECONFIG, "lora.alpha: %g must be above 0 while lora.rank is: the adapters would add nothing", c->lora.alpha);
  agrl_rc rc = agrl_targets_parse(c->lora.targets, &targets, err);
  if (rc) return rc;
  if (!*c->model.init) {
    return agrl_fail(err, AGRL_ECONFIG, "lora.rank: %" PRId64 " needs model.init: adapters leave the model's own weights as they are, and those of a new model are random", c->lora.rank);
  }
  return AGRL_OK;
}

static agrl_rc check_run(const agrl_config *c, agrl_error *err) {
  static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  const char *name = c->run.name;
  if (!*name || strlen(name) > 64 || name[strspn(name, fine)]) {
    return agrl_fail(err, AGRL_ECONFIG, "run.name: \"%.80s\": expected 1 to 64 letters, digits, '_', '.' or '-'", name);
  }
  if (!*c->run.dir) return agrl_fail(err, AGRL_ECONFIG, "run.dir: is empty");
  return AGRL_OK;
}

// Only what is in a checkpoint can be evaluated.
static agrl_rc check_eval(const agrl_config *c, agrl_error *err) {
  int64_t interval = c->eval.every, every = c->learner.checkpoint_every;
  if (interval % every == 0) return AGRL_OK;
  return agrl_fail(err, AGRL_ECONFIG, "eval.interval: %" PRId64 " is no multiple of learner.checkpoint_every %" PRId64 "; the nearest is %" PRId64,
                   interval, every, interval < every ? every : (interval + every / 2) / every * every);
}

agrl_rc agrl_config_check(const agrl_config *c, agrl_error *err) {
  agrl_rc rc = check_run(c, err);
  if (!rc) rc = check_model(c, err);
  if (!rc) rc = check_lora(c, err);
  if (!rc) rc = config_check_method(c, err);
  if (!rc) rc = check_method(c, err);
  if (!rc) rc = check_sampler(c, err);
  if (!rc) rc = check_eval(c, err);
  if (!rc) rc = check_addresses(c, err);
  return rc;
}

// --- derived -----------------------------------------------------------------------------------------------------

// All daemons of a run start in the same directory, so a relative run.dir means the same to each of them.
static char *short_socket(const char *dir, const char *service) {
  char *cwd = dir[0] == '/' ? NULL : getcwd(NULL, 0);
  char *full = agrl_path_join(cwd ? cwd : "", dir);
  uint64_t h = agrl_hash64(full, strlen(full));
  free(full);
  free(cwd);
  return agrl_xasprintf("ipc:///tmp/agrl-%ld-%016" PRIx64 ".%s", (long)getuid(), h, service);
}

char *agrl_config_endpoint(const agrl_config *c, const char *service) {
  const char *set = NULL;
  if (strcmp(service, "replay") == 0) set = c->net.replay;
  else if (strcmp(service, "reward") == 0) set = c->net.reward;
  else if (strcmp(service, "weights") == 0) set = c->net.weights;
  else if (strcmp(service, "announce") == 0) set = c->net.announce;
  else if (strcmp(service, "control") == 0) set = c->net.control;
  if (set && *set) return agrl_xstrdup(set);
  char *endpoint = agrl_xasprintf("ipc://%s/sock/%s", c->run.dir, service);
  if (strlen(endpoint) - strlen("ipc://") <= SUN_PATH_BYTES) return endpoint;
  free(endpoint);
  return short_socket(c->run.dir, service);
}

uint64_t agrl_config_run_id(const agrl_config *c) {
  char *text = agrl_xasprintf("%s %" PRId64, c->run.name, c->run.seed);
  uint64_t h = agrl_hash64(text, strlen(text));
  free(text);
  return h;
}

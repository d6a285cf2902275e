// SPDX-License-Identifier: Apache-2.0
// What an operator sees of a service: transport metrics, health, readiness, status answers and events.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/bug.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/svc/svc_impl.h"

#define STATUS_ITEMS 128

static const char *const directions[] = {"sent", "received", NULL};
static const char *const drop_causes[] = {"full", "deadline", "peer", NULL};
static const char *const reject_causes[] = {"schema", "size", "crc", "parse", NULL};

static const agrl_metric_desc descs[] = {
    {.name = "agrl_transport_messages_total", .help = "Messages on all links of this process.", .type = AGRL_COUNTER,
     .label = "direction", .values = directions},
    {.name = "agrl_transport_bytes_total", .help = "Bytes of messages, envelopes included.", .type = AGRL_COUNTER,
     .label = "direction", .values = directions},
    {.name = "agrl_transport_drops_total", .help = "Messages not sent (full, peer) or received too late (deadline).",
     .type = AGRL_COUNTER, .label = "cause", .values = drop_causes},
    {.name = "agrl_transport_rejects_total", .help = "Bad messages received and refused.", .type = AGRL_COUNTER,
     .label = "cause", .values = reject_causes},
    {.name = "agrl_transport_queue_depth", .help = "Requests waiting for their answer.", .type = AGRL_GAUGE},
    {.name = "agrl_transport_rtt_seconds", .help = "Round trip of the newest answered request.", .type = AGRL_GAUGE},
    {.name = "agrl_run_lost_lines_total", .help = "Lines of events.jsonl and metrics.jsonl that could not be written.", .type = AGRL_COUNTER},
};
enum { MESSAGES, BYTES, DROPS, REJECTS, DEPTH, RTT, LOST_LINES, N_DESCS };
static agrl_metric *metrics[N_DESCS];

void svc_observe_register(svc_private *p) {
  for (size_t i = 0; i < N_DESCS; i++) metrics[i] = agrl_metric_register(&descs[i]);
  agrl_buf text;
  char hex[65];
  agrl_buf_init(&text);
  agrl_conf_dump(agrl_config_table, agrl_config_table_len, &p->pub.config, false, NULL, &text);
  agrl_sha256 h = agrl_sha256_of(text.data, text.len);
  agrl_buf_release(&text);
  agrl_sha256_hex(&h, hex);
  snprintf(p->config_hash, sizeof p->config_hash, "%.12s", hex);
  snprintf(p->run_id_text, sizeof p->run_id_text, "%016" PRIx64, p->pub.run_id);
  p->run_id_values[0] = p->run_id_text;
  p->config_hash_values[0] = p->config_hash;
  p->info_desc = (agrl_metric_desc){.name = "agrl_run_info", .help = "The run this process works for; always 1.",
                                    .type = AGRL_GAUGE, .label = "run_id", .values = p->run_id_values, .label2 = "config_hash",
                                    .values2 = p->config_hash_values};
  agrl_metric_set(agrl_metric_register(&p->info_desc), 0, 1);
}

static void count_up(int metric, size_t index, uint64_t now, uint64_t *seen) {
  agrl_metric_add(metrics[metric], index, (double)(now - *seen));
  *seen = now;
}

static void refresh_transport(svc_private *p) {
  agrl_net_stats now = agrl_net_get_stats(p->pub.net), *seen = &p->seen;
  count_up(MESSAGES, 0, now.sent, &seen->sent);
  count_up(MESSAGES, 1, now.received, &seen->received);
  count_up(BYTES, 0, now.sent_bytes, &seen->sent_bytes);
  count_up(BYTES, 1, now.received_bytes, &seen->received_bytes);
  count_up(DROPS, 0, now.drops_full, &seen->drops_full);
  count_up(DROPS, 1, now.drops_deadline, &seen->drops_deadline);
  count_up(DROPS, 2, now.drops_peer, &seen->drops_peer);
  count_up(REJECTS, 0, now.rejects_schema, &seen->rejects_schema);
  count_up(REJECTS, 1, now.rejects_size, &seen->rejects_size);
  count_up(REJECTS, 2, now.rejects_checksum, &seen->rejects_checksum);
  count_up(REJECTS, 3, now.rejects_parse, &seen->rejects_parse);
  agrl_metric_set(metrics[DEPTH], 0, (double)now.pending);
  agrl_metric_set(metrics[RTT], 0, now.answers > 0 ? (double)now.last_rtt_ns * 1e-9 : (double)NAN);
}

static void before_metrics(void *user) {
  svc_private *p = user;
  refresh_transport(p);
  count_up(LOST_LINES, 0, agrl_jsonl_lost(), &p->seen_lost_lines);
  if (p->pub.def->metrics != NULL) p->pub.def->metrics(&p->pub);
}

static bool healthy(void *user, char *why, size_t cap) {
  const svc_private *p = user;
  if (!p->watch.stalled) return true;
  snprintf(why, cap, "stalled: work is left and nothing moved for %.0f s", agrl_since_s(p->watch.moved_ns));
  return false;
}

static bool ready(void *user, char *why, size_t cap) {
  const svc_private *p = user;
  if (p->pub.ready && !p->pub.draining) return true;
  snprintf(why, cap, "%s", p->pub.draining ? "draining" : "starting");
  return false;
}

void svc_observe_hooks(svc_private *p, agrl_http_hooks *out) {
  *out = (agrl_http_hooks){.before_metrics = before_metrics, .healthy = healthy, .ready = ready, .user = p};
}

bool agrl_svc_handle_status(agrl_svc *s, agrl_sock *sock, const agrl_peer *peer, const agrl_msg *m) {
  if (m->kind != AGRL_MSG_STATUS_REQUEST) return false;
  const svc_private *p = svc_private_of(s);
  agrl_arena a;
  agrl_kv items[STATUS_ITEMS];
  size_t n = 0;
  agrl_arena_init(&a, 0);
  items[n++] = (agrl_kv){"release", AGRL_VERSION_TEXT};
  items[n++] = (agrl_kv){"pid", agrl_arena_printf(&a, "%ld", (long)getpid())};
  items[n++] = (agrl_kv){"run_id", p->run_id_text};
  items[n++] = (agrl_kv){"uptime_s", agrl_arena_printf(&a, "%.0f", agrl_since_s(p->started_ns))};
  items[n++] = (agrl_kv){"ready", s->ready && !s->draining ? "true" : "false"};
  items[n++] = (agrl_kv){"healthy", p->watch.stalled ? "false" : "true"};
  items[n++] = (agrl_kv){"http_port", agrl_arena_printf(&a, "%d", p->http != NULL ? agrl_http_port(p->http) : 0)};
  if (s->def->status != NULL) n += s->def->status(s, &a, items + n, STATUS_ITEMS - n);
  AGRL_ASSERT(n <= STATUS_ITEMS);
  agrl_msg answer = {.kind = AGRL_MSG_STATUS, .status = {.service = s->name, .n = n, .items = items}};
  agrl_reply(sock, peer, m, &answer);
  agrl_arena_release(&a);
  return true;
}

void agrl_svc_event(agrl_svc *s, const char *event, const char *fmt_json_members, ...) {
  if (s->events == NULL) return;
  agrl_buf line;
  agrl_jw w;
  agrl_buf_init(&line);
  agrl_jw_init(&w, &line);
  agrl_buf_addf(&line, "{\"t\":%.3f,\"svc\":", (double)(agrl_wall_ns() / 1000000u) * 1e-3);
  agrl_jw_str(&w, s->name);
  agrl_buf_adds(&line, ",\"event\":");
  agrl_jw_init(&w, &line);
  agrl_jw_str(&w, event);
  if (fmt_json_members != NULL && fmt_json_members[0] != '\0') {
    va_list ap;
    agrl_buf_addc(&line, ',');
    va_start(ap, fmt_json_members);
    agrl_buf_vaddf(&line, fmt_json_members, ap);
    va_end(ap);
  }
  agrl_buf_addc(&line, '}');
  agrl_jsonl_write(s->events, line.data, line.len);
  agrl_buf_release(&line);
}

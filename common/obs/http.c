// SPDX-License-Identifier: Apache-2.0
// HTTP without a thread: libmicrohttpd runs in its external epoll mode, the loop watches its epoll descriptor and calls
// MHD_run, and a timer covers connection time-outs. The listening socket is our own, so that a taken port is named.
#include "common/obs/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/obs/metric.h"

#define MAX_CONNECTIONS 32u
#define CONNECTION_SECONDS 10u

struct agrl_http {
  struct MHD_Daemon *mhd;
  agrl_http_hooks hooks;
  uv_poll_t poll;
  uv_timer_t timer;
  int port;
  int open_handles;
};

static enum MHD_Result answer(struct MHD_Connection *c, unsigned code, const char *type, const char *body, size_t len) {
  struct MHD_Response *r = MHD_create_response_from_buffer(len, (void *)body, MHD_RESPMEM_MUST_COPY);
  if (r == NULL) return MHD_NO;
  MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
  if (code == MHD_HTTP_METHOD_NOT_ALLOWED) MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  enum MHD_Result ok = MHD_queue_response(c, code, r);
  MHD_destroy_response(r);
  return ok;
}

static enum MHD_Result answer_text(struct MHD_Connection *c, unsigned code, const char *text) {
  return answer(c, code, "text/plain; charset=utf-8", text, strlen(text));
}

static enum MHD_Result answer_metrics(agrl_http *h, struct MHD_Connection *c) {
  agrl_buf out;
  agrl_buf_init(&out);
  if (h->hooks.before_metrics != NULL) h->hooks.before_metrics(h->hooks.user);
  agrl_metrics_expose(&out);
  enum MHD_Result ok = answer(c, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
  agrl_buf_release(&out);
  return ok;
}

static enum MHD_Result answer_check(agrl_http *h, struct MHD_Connection *c, bool (*check)(void *, char *, size_t)) {
  char why[256] = "";
  if (check == NULL || check(h->hooks.user, why, sizeof why - 1)) return answer_text(c, MHD_HTTP_OK, "ok\n");
  strcat(why, "\n");
  return answer_text(c, MHD_HTTP_SERVICE_UNAVAILABLE, why);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_len, void **state) {
  agrl_http *h = user;
  static char seen;
  (void)version, (void)upload;
  if (*state == NULL) {  // the first call has the headers only
    *state = &seen;
    return MHD_YES;
  }
  if (*upload_len > 0) {  // a body is read and forgotten
    *upload_len = 0;
    return MHD_YES;
  }
  if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
    return answer_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
  if (strcmp(url, "/metrics") == 0) return answer_metrics(h, c);
  if (strcmp(url, "/healthz") == 0) return answer_check(h, c, h->hooks.healthy);
  if (strcmp(url, "/readyz") == 0) return answer_check(h, c, h->hooks.ready);
  return answer_text(c, MHD_HTTP_NOT_FOUND, "try /metrics, /healthz or /readyz\n");
}

static void on_timer(uv_timer_t *t);

static void run(agrl_http *h) {
  MHD_run(h->mhd);
  MHD_UNSIGNED_LONG_LONG ms;
  if (MHD_get_timeout(h->mhd, &ms) == MHD_YES)
    uv_timer_start(&h->timer, on_timer, ms, 0);
  else
    uv_timer_stop(&h->timer);
}

static void on_timer(uv_timer_t *t) { run(t->data); }

static void on_ready(uv_poll_t *p, int status, int events) {
  (void)status, (void)events;
  run(p->data);
}

// Loopback only; names other than localhost are not looked up.
static agrl_rc make_address(const char *host, int port, struct sockaddr_storage *out, socklen_t *len, agrl_error *err) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  memset(out, 0, sizeof *out);
  if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
  if (inet_pton(AF_INET, host, &v4.sin_addr) == 1 && (ntohl(v4.sin_addr.s_addr) >> 24) == 127) {
    memcpy(out, &v4, *len = sizeof v4);
  } else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr)) {
    memcpy(out, &v6, *len = sizeof v6);
  } else {
    return agrl_fail(err, AGRL_ECONFIG, "obs.http_host: %s is not a loopback address; use 127.0.0.1 or ::1", host);
  }
  return AGRL_OK;
}

static agrl_rc listen_on(const char *host, int port, int *fd_out, int *port_out, agrl_error *err) {
  struct sockaddr_storage a;
  socklen_t len = 0;
  if (port < 0 || port > 65535) return agrl_fail(err, AGRL_ECONFIG, "obs.http_port: port %d is outside 0..65535", port);
  agrl_rc rc = make_address(host, port, &a, &len, err);
  if (rc != AGRL_OK) return rc;
  int on = 1, fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return agrl_fail(err, AGRL_EIO, "obs.http_port: no socket: %s", strerror(errno));
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&a, len) != 0 || listen(fd, 16) != 0 || getsockname(fd, (struct sockaddr *)&a, &len) != 0) {
    int e = errno;
    close(fd);
    return agrl_fail(err, AGRL_ECONFIG, "cannot serve HTTP on %s port %d: %s; set obs.http_port to a free base port, "
                     "or to 0 for no HTTP", host, port, strerror(e));
  }
  *port_out = ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port : ((struct sockaddr_in6 *)&a)->sin6_port);
  *fd_out = fd;
  return AGRL_OK;
}

agrl_rc agrl_http_start(agrl_http **out, uv_loop_t *loop, const char *host, int port, const agrl_http_hooks *hooks,
                        agrl_error *err) {
  int fd = -1;
  agrl_http *h = agrl_xcalloc(1, sizeof *h);
  h->hooks = *hooks;
  agrl_rc rc = listen_on(host, port, &fd, &h->port, err);
  if (rc != AGRL_OK) {
    free(h);
    return rc;
  }
  h->mhd = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, fd,
                            MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_SECONDS,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)16384, MHD_OPTION_END);
  const union MHD_DaemonInfo *info = h->mhd == NULL ? NULL : MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD);
  if (info == NULL || uv_poll_init(loop, &h->poll, info->epoll_fd) != 0) {
    if (h->mhd != NULL)
      MHD_stop_daemon(h->mhd);
    else
      close(fd);
    free(h);
    return agrl_fail(err, AGRL_EIO, "cannot start HTTP on %s port %d", host, port);
  }
  uv_timer_init(loop, &h->timer);
  h->poll.data = h->timer.data = h;
  h->open_handles = 2;
  uv_poll_start(&h->poll, UV_READABLE, on_ready);
  *out = h;
  return AGRL_OK;
}

int agrl_http_port(const agrl_http *h) { return h->port; }

static void on_closed(uv_handle_t *handle) {
  agrl_http *h = handle->data;
  if (--h->open_handles == 0) free(h);
}

void agrl_http_stop(agrl_http *h) {
  if (h == NULL) return;
  uv_poll_stop(&h->poll);
  uv_close((uv_handle_t *)&h->poll, on_closed);
  uv_close((uv_handle_t *)&h->timer, on_closed);
  MHD_stop_daemon(h->mhd);
}

// SPDX-License-Identifier: Apache-2.0
// systemd's notification protocol: one datagram per state to the socket named by $NOTIFY_SOCKET ('@' starts an abstract
// name). Failing to notify never stops a daemon.
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/num.h"
#include "common/obs/http.h"

void agrl_notify(const char *state) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  if (path == NULL || (path[0] != '/' && path[0] != '@')) return;
  size_t n = strlen(path);
  if (n >= sizeof a.sun_path) {
    agrl_logw("notify socket=%s error=\"name too long\"", path);
    return;
  }
  memcpy(a.sun_path, path, n);
  if (path[0] == '@') a.sun_path[0] = '\0';
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
  if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&a, len) < 0)
    agrl_logw("notify socket=%s error=\"%s\"", path, strerror(errno));
  if (fd >= 0) close(fd);
}

// $WATCHDOG_PID, when set, says whose watchdog it is.
uint64_t agrl_notify_watchdog_ns(void) {
  const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
  uint64_t us = 0, who = 0;
  if (usec == NULL || !agrl_parse_u64(usec, &us)) return 0;
  if (pid != NULL && (!agrl_parse_u64(pid, &who) || who != (uint64_t)getpid())) return 0;
  return us * 1000u / 2u;
}

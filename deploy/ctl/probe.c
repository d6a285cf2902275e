// SPDX-License-Identifier: Apache-2.0
// GET /readyz of a daemon on this machine, with a deadline.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deploy/ctl/ctl.h"

int ctl_probe_ready(const char *host, int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct timeval deadline = {.tv_usec = 500000};
  char text[64] = "";
  if (port <= 0) return -1;
  if (inet_pton(AF_INET, host, &a.sin_addr) != 1) inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
  static const char request[] = "GET /readyz HTTP/1.0\r\n\r\n";
  int code = 0;
  if (!connect(fd, (struct sockaddr *)&a, sizeof a) && send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0 &&
      recv(fd, text, sizeof text - 1, MSG_WAITALL) > 0)
    sscanf(text, "HTTP/%*s %d", &code);
  close(fd);
  return code == 200;
}

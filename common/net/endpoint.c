// SPDX-License-Identifier: Apache-2.0
// Which endpoints may be used without CURVE: ipc, and TCP on an address of this host's loopback. Host names other than
// "localhost" are not looked up: what they resolve to may change between the check and the bind.
#include <arpa/inet.h>
#include <string.h>

#include "common/base/num.h"
#include "common/net/net_impl.h"

static bool loopback_host(const char *host) {
  struct in_addr v4;
  struct in6_addr v6;
  if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0) return true;
  if (inet_pton(AF_INET, host, &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool agrl_endpoint_is_local(const char *endpoint) {
  if (endpoint == NULL) return false;
  if (strncmp(endpoint, "ipc://", 6) == 0) return endpoint[6] != '\0';
  if (strncmp(endpoint, "tcp://", 6) != 0) return false;
  char host[64];
  const char *start = endpoint + 6, *colon = strrchr(start, ':');
  uint64_t port;
  if (colon == NULL || (size_t)(colon - start) >= sizeof host) return false;
  if (strcmp(colon + 1, "*") != 0 && (!agrl_parse_u64(colon + 1, &port) || port > 65535)) return false;
  memcpy(host, start, (size_t)(colon - start));
  host[colon - start] = '\0';
  return loopback_host(host);
}

agrl_rc net_endpoint_check(const char *endpoint, agrl_error *err) {
  if (agrl_endpoint_is_local(endpoint)) return AGRL_OK;
  if (strncmp(endpoint, "tcp://", 6) == 0 && strrchr(endpoint + 6, ':') != NULL)
    return agrl_fail(err, AGRL_EPERM, "%s: refused until CURVE is configured: use ipc:// or a loopback address "
                     "(tcp://127.0.0.1:PORT)", endpoint);
  return agrl_fail(err, AGRL_ECONFIG, "%s: not an endpoint: write ipc:///path or tcp://127.0.0.1:PORT", endpoint);
}

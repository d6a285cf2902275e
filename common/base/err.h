// SPDX-License-Identifier: Apache-2.0
// Errors. A function that can fail in operation returns agrl_rc and fills *err with one line that names the
// object and the remedy. Bugs do not come this way: see bug.h. err may be NULL. Thread-safe (no shared state).
#ifndef AGRL_BASE_ERR_H
#define AGRL_BASE_ERR_H

// X(name, sysexits code, text)
#define AGRL_RC_MAP(X)                                                     \
  X(OK, 0, "ok")                                                           \
  X(EINVAL, 64, "invalid argument")                                        \
  X(EPARSE, 65, "malformed data")                                          \
  X(ELIMIT, 65, "limit exceeded")                                          \
  X(ECHECKSUM, 65, "checksum mismatch")                                    \
  X(ENOENT, 66, "not found")                                               \
  X(ETIMEOUT, 69, "deadline passed")                                       \
  X(EPEER, 69, "peer unavailable")                                         \
  X(ESELFCHECK, 70, "self-check failed")                                   \
  X(ENOMEM, 71, "out of memory")                                           \
  X(EEXIST, 73, "already exists")                                          \
  X(EIO, 74, "input/output error")                                         \
  X(EFULL, 74, "storage full")                                             \
  X(EAGAIN, 75, "try again")                                               \
  X(EVERSION, 76, "version mismatch")                                      \
  X(EPERM, 77, "not permitted")                                            \
  X(ECONFIG, 78, "configuration error")                                    \
  X(EUNSUPPORTED, 78, "not supported")

typedef enum agrl_rc {
#define AGRL_RC_ENUM(name, exit, text) AGRL_##name,
  AGRL_RC_MAP(AGRL_RC_ENUM)
#undef AGRL_RC_ENUM
} agrl_rc;

typedef struct agrl_error {
  agrl_rc code;
  char msg[512];
} agrl_error;

// Fills *err (if not NULL) and returns code, so that callers write: return agrl_fail(err, AGRL_EIO, "%s: ...", path);
agrl_rc agrl_fail(agrl_error *err, agrl_rc code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
// Prepends "context: " to an error already set; returns its code.
agrl_rc agrl_fail_in(agrl_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// "program: message" and a newline on stderr. What could steer a terminal is shown as \xNN, line breaks stay.
void agrl_error_print(const agrl_error *err, const char *program);
const char *agrl_rc_name(agrl_rc rc);  // "EPARSE"
const char *agrl_rc_text(agrl_rc rc);  // "malformed data"
int agrl_rc_exit(agrl_rc rc);          // sysexits code

#endif

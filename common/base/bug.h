// SPDX-License-Identifier: Apache-2.0
// Bugs: asserts that are always on. A failed AGRL_ASSERT logs file:line, prints a backtrace and aborts.
#ifndef AGRL_BASE_BUG_H
#define AGRL_BASE_BUG_H

_Noreturn void agrl_bug(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define AGRL_BUG(...) agrl_bug(__FILE__, __LINE__, __VA_ARGS__)
#define AGRL_ASSERT(cond) ((cond) ? (void)0 : agrl_bug(__FILE__, __LINE__, "assertion failed: %s", #cond))

#endif

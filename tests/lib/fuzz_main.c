// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target as a property test: the committed corpus first, then seeded mutations of it. The input under test
// lies in a heap block of exactly its size, so that a sanitizer sees a read one byte past it. When the target dies, the
// input is written to NAME.crash first.
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "tests/lib/mutate.h"

int AGRL_FUZZ_FUNCTION(const uint8_t *data, size_t size);
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

enum { MAX_SEEDS = 512 };

static agrl_buf seeds[MAX_SEEDS];
static size_t n_seeds;
static const uint8_t *current;
static size_t current_len;

static void save_current(void) {
  static const char path[] = AGRL_FUZZ_NAME ".crash";
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool saved = fd >= 0 && write(fd, current, current_len) == (ssize_t)current_len;
  fprintf(stderr, "%s: failed on an input of %zu bytes, %s %s; run it alone with: %s_fuzz %s\n", AGRL_FUZZ_NAME, current_len,
          saved ? "written to" : "which could not be written to", path, AGRL_FUZZ_NAME, path);
  if (fd >= 0) close(fd);
}

static void on_signal(int sig) {
  save_current();
  signal(sig, SIG_DFL);
  raise(sig);
}

static void watch_deaths(void) {
  if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(save_current);
  else signal(SIGSEGV, on_signal);
  signal(SIGABRT, on_signal);
}

static void try_input(const char *data, size_t len) {
  uint8_t *exact = agrl_xmalloc(len);
  if (len) memcpy(exact, data, len);
  current = exact;
  current_len = len;
  if (AGRL_FUZZ_FUNCTION(exact, len) != 0) {
    fprintf(stderr, "%s: the target returned a value other than 0\n", AGRL_FUZZ_NAME);
    abort();
  }
  free(exact);
}

static void load_seed(const char *path) {
  agrl_error err;
  if (n_seeds == MAX_SEEDS || agrl_file_read(path, AGRL_MUTATE_MAX_BYTES, &seeds[n_seeds], &err) != AGRL_OK) {
    fprintf(stderr, "%s: cannot take %s: %s\n", AGRL_FUZZ_NAME, path, n_seeds == MAX_SEEDS ? "too many seeds" : err.msg);
    exit(66);
  }
  n_seeds++;
}

// A directory is read in name order, so that a run can be repeated.
static void load_dir(const char *path) {
  struct dirent **names;
  int n = scandir(path, &names, NULL, alphasort);
  for (int i = 0; i < n; i++) {
    if (names[i]->d_name[0] != '.') {
      char *file = agrl_path_join(path, names[i]->d_name);
      load_seed(file);
      free(file);
    }
    free(names[i]);
  }
  if (n >= 0) free(names);
}

static uint64_t run_mutations(uint64_t count, uint64_t seed, uint64_t seconds) {
  uint64_t start = agrl_mono_ns(), i = 0;
  agrl_buf input = {0};
  for (; i < count && (double)seconds > agrl_since_s(start); i++) {
    agrl_rng rng;
    agrl_rng_init(&rng, seed, i);
    const agrl_buf *a = &seeds[agrl_rng_below(&rng, (uint32_t)n_seeds)], *b = &seeds[agrl_rng_below(&rng, (uint32_t)n_seeds)];
    agrl_buf_clear(&input);
    agrl_buf_add(&input, a->data, a->len);
    agrl_mutate(&rng, &input, (const uint8_t *)b->data, b->len);
    try_input(input.data, input.len);
  }
  agrl_buf_release(&input);
  return i;
}

int main(int argc, char **argv) {
  uint64_t count = 20000, seed = 1, seconds = 20;
  agrl_log_init(AGRL_FUZZ_NAME, AGRL_LOG_ERROR);  // rejected inputs are expected, and many
  for (int c; (c = getopt(argc, argv, "n:s:t:")) != -1;) {
    uint64_t *target = c == 'n' ? &count : c == 's' ? &seed : c == 't' ? &seconds : NULL;
    if (!target || !agrl_parse_u64(optarg, target)) return 64;
  }
  bool alone = true;
  for (int i = optind; i < argc; i++) {
    struct stat st;
    bool is_dir = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
    if (is_dir) load_dir(argv[i]);
    else load_seed(argv[i]);
    alone = alone && !is_dir;
  }
  if (!n_seeds) {
    fprintf(stderr, "%s: no seed inputs; put some under tests/fuzz/corpus/%s\n", AGRL_FUZZ_NAME, AGRL_FUZZ_NAME);
    return 66;
  }
  watch_deaths();
  try_input("", 0);
  for (size_t i = 0; i < n_seeds; i++) try_input(seeds[i].data ? seeds[i].data : "", seeds[i].len);
  uint64_t done = alone ? 0 : run_mutations(count, seed, seconds);
  printf("%s: %zu seeds, %" PRIu64 " mutations (seed %" PRIu64 ")\n", AGRL_FUZZ_NAME, n_seeds, done, seed);
  for (size_t i = 0; i < n_seeds; i++) agrl_buf_release(&seeds[i]);
  return 0;
}

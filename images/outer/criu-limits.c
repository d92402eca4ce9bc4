/*
 * Loaded into CRIU (LD_PRELOAD, by the script `criu` that runc finds first): lets it read the
 * resource limits of another user's process where CAP_SYS_RESOURCE is missing.
 *
 * prlimit(2) wants that capability for a process whose user ids are not the caller's. Without it a
 * dump fails with "Can't get rlimit 0: Operation not permitted" (CRIU 4.2.1, measured), so that no
 * service that is not root could leave such a machine. /proc/PID/limits has the same numbers and
 * asks for nothing. Acts only when the kernel has refused to tell a limit; can go when CRIU falls
 * back by itself.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Rows and columns of /proc/PID/limits (fs/proc/base.c, lnames): one a resource, by its number. */
enum { name_columns = 26, line_bytes = 256 };

static rlim64_t parse_limit(char **text) {
  *text += strspn(*text, " ");
  if (strncmp(*text, "unlimited", 9) == 0) {
    *text += 9;
    return RLIM64_INFINITY;
  }
  return strtoull(*text, text, 10);
}

static int read_limit(pid_t pid, long resource, struct rlimit64 *limit) {
  char path[64], line[line_bytes];
  snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
  FILE *file = fopen(path, "re");
  if (file == NULL) return -1;
  char *row = fgets(line, sizeof line, file); /* the heading */
  for (long i = 0; row != NULL && i <= resource; i++) row = fgets(line, sizeof line, file);
  fclose(file);
  if (row == NULL || strlen(row) <= name_columns) return -1;
  char *text = row + name_columns;
  limit->rlim_cur = parse_limit(&text);
  limit->rlim_max = parse_limit(&text);
  return 0;
}

/* CRIU calls prlimit through glibc's syscall(3), which takes up to six arguments. */
long syscall(long number, ...) {
  static long (*next)(long, ...);
  long a[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  if (next == NULL) next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  long result = next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  int is_refused_read = number == SYS_prlimit64 && result == -1 && errno == EPERM && a[2] == 0;
  if (!is_refused_read || a[3] == 0) return result;
  if (read_limit((pid_t)a[0], a[1], (struct rlimit64 *)a[3]) == 0) return 0;
  errno = EPERM;
  return -1;
}

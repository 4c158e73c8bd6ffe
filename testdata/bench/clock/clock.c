// Runs COMMAND and tells file descriptor 3 what it took: nanoseconds from the
// spawn to the exit by the monotonic clock, microseconds of processor time, the
// peak memory in KiB of its largest process, and its exit code.
//
//	clock COMMAND [ARGUMENT ...]
//
// A program's peak memory as the kernel counts it begins with what its parent
// had when it was spawned. This parent is small so that this is not seen.

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
	if (argc < 2 || fcntl(3, F_SETFD, FD_CLOEXEC) < 0) {
		fputs("usage: clock COMMAND [ARGUMENT ...] 3>FILE\n", stderr);
		return 2;
	}
	pid_t pid;
	int status;
	struct rusage usage;
	long long start = now();
	int error = posix_spawn(&pid, argv[1], NULL, NULL, argv + 1, environ);
	if (error != 0) {
		fprintf(stderr, "clock: start %s: %s\n", argv[1], strerror(error));
		return 2;
	}
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			return 2;
	long long took = now() - start;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	long long busy = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000LL + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
	dprintf(3, "%lld %lld %ld %d\n", took, busy, usage.ru_maxrss, code);
	return 0;
}

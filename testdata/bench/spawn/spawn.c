// The floor under any program that runs steps: COUNT times "sh -c SCRIPT",
// SLOTS at a time, each with one pipe for both its streams, what comes out of
// it copied to standard output. Nothing is planned, stamped or recorded.
//
//	spawn COUNT SLOTS SCRIPT

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static atomic_long left;
static char *script;

static void must(int error, const char *what) {
	if (error == 0)
		return;
	fprintf(stderr, "spawn: %s: %s\n", what, strerror(error));
	exit(1);
}

static void step(void) {
	int ends[2];
	must(pipe2(ends, O_CLOEXEC) < 0 ? errno : 0, "make a pipe");

	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
	char *argv[] = {"sh", "-c", script, NULL};
	pid_t pid;
	must(posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ), "start sh");
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);

	char chunk[65536];
	ssize_t n;
	while ((n = read(ends[0], chunk, sizeof chunk)) > 0)
		must(write(1, chunk, n) == n ? 0 : EIO, "write output");
	close(ends[0]);

	int status;
	must(waitpid(pid, &status, 0) < 0 ? errno : 0, "wait");
	must(status == 0 ? 0 : ECHILD, "a step failed");
}

static void *slot(void *unused) {
	while (atomic_fetch_sub(&left, 1) > 0)
		step();
	return unused;
}

int main(int argc, char **argv) {
	if (argc != 4) {
		fputs("usage: spawn COUNT SLOTS SCRIPT\n", stderr);
		return 2;
	}
	left = atol(argv[1]);
	int slots = atoi(argv[2]);
	script = argv[3];
	pthread_t threads[slots];
	for (int i = 0; i < slots; i++)
		must(pthread_create(&threads[i], NULL, slot, NULL), "start a thread");
	for (int i = 0; i < slots; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

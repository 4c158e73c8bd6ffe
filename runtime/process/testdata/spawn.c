/*
 * The least that running steps can cost: SLOTS threads start SHELL -e -c SCRIPT
 * COUNT times in all, each with one pipe, read to its end, and wait.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static atomic_int left;
static char **command;

static void *slot(void *unused) {
	static _Thread_local char buf[65536];
	(void)unused;
	while (atomic_fetch_sub(&left, 1) > 0) {
		int p[2], status;
		pid_t pid;
		posix_spawn_file_actions_t actions;
		if (pipe2(p, O_CLOEXEC) != 0)
			exit(2);
		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
		posix_spawn_file_actions_adddup2(&actions, p[1], 1);
		posix_spawn_file_actions_adddup2(&actions, p[1], 2);
		if (posix_spawn(&pid, command[0], &actions, NULL, command, environ) != 0)
			exit(3);
		posix_spawn_file_actions_destroy(&actions);
		close(p[1]);
		while (read(p[0], buf, sizeof buf) > 0)
			;
		close(p[0]);
		if (waitpid(pid, &status, 0) != pid || status != 0)
			exit(4);
	}
	return NULL;
}

int main(int argc, char **argv) {
	pthread_t threads[64];
	int slots;
	if (argc < 4)
		return 1;
	left = atoi(argv[1]);
	slots = atoi(argv[2]);
	command = argv + 3;
	for (int i = 0; i < slots; i++)
		pthread_create(&threads[i], NULL, slot, NULL);
	for (int i = 0; i < slots; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

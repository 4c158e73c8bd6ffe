// A step that prints COUNT lines of 80 bytes, in blocks as a program does that
// does not think of it, or with one write for each line as an eager one does.
//
//	lines COUNT block|line

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
	if (argc != 3) {
		fputs("usage: lines COUNT block|line\n", stderr);
		return 2;
	}
	long count = atol(argv[1]);
	static char buffer[65536];
	setvbuf(stdout, buffer, strcmp(argv[2], "line") == 0 ? _IOLBF : _IOFBF, sizeof buffer);
	char line[81];
	memset(line, '.', 79);
	line[79] = '\n';
	for (long i = 1; i <= count; i++) {
		long n = i;
		for (int at = 9; at >= 0; at--, n /= 10)
			line[at] = '0' + n % 10;
		if (fwrite(line, 1, 80, stdout) != 80)
			return 1;
	}
	return fflush(stdout) == 0 ? 0 : 1;
}

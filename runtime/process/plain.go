package process

import "strings"

// Plain splits a script that uses nothing of a shell: one command of plain
// words, which sh would look for in PATH and start just so. Such a script can
// do without the shell, and nobody can tell. When in doubt it is not plain.
//
// That holds for POSIX shells, unless the environment brings in something of
// its own: BASH_ENV, or a function in BASH_FUNC_*.
func Plain(script string) (argv []string, ok bool) {
	script = strings.Trim(script, " \t\n")
	for i := range len(script) {
		if !plainByte(script[i]) {
			return nil, false
		}
	}
	argv = strings.FieldsFunc(script, func(r rune) bool { return r == ' ' || r == '\t' })
	if len(argv) == 0 || !plainCommand(argv[0]) {
		return nil, false
	}
	for _, word := range argv {
		if word[0] == '=' { // zsh looks such a word up
			return nil, false
		}
	}
	return argv, true
}

// plainByte reports whether a shell takes a byte as it is, wherever it stands
// in a word, or between two. Bytes beyond ASCII may be blanks in some locale.
func plainByte(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	return strings.IndexByte("_-./,:+@%= \t", b) >= 0
}

// plainCommand reports whether a first word of plain bytes names a program.
func plainCommand(word string) bool {
	if strings.IndexByte(word, '=') >= 0 { // an assignment
		return false
	}
	if strings.IndexByte(word, '/') >= 0 {
		return word[len(word)-1] != '/'
	}
	switch b := word[0]; {
	case b == '_', 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return !shellWord(word)
	}
	return false // ":", ".", "%1", "-x"
}

// shellWord reports whether some shell that goes by the name of sh, or could be
// a step's, knows a word itself: dash, bash, busybox, ksh93, mksh, yash, zsh.
func shellWord(word string) bool {
	switch word {
	// reserved
	case "case", "coproc", "do", "done", "elif", "else", "end", "esac", "fi", "for", "foreach", "function", "if", "in",
		"namespace", "nocorrect", "repeat", "select", "then", "time", "until", "while":
		return true
	// special builtins of POSIX, in words
	case "break", "continue", "eval", "exec", "exit", "export", "readonly", "return", "set", "shift", "times", "trap", "unset":
		return true
	// regular builtins of POSIX, and programs that most shells have built in
	case "alias", "bg", "cd", "command", "echo", "false", "fc", "fg", "getopts", "hash", "jobs", "kill", "newgrp", "printf",
		"pwd", "read", "test", "true", "type", "ulimit", "umask", "unalias", "wait":
		return true
	// bash
	case "bind", "builtin", "caller", "compgen", "complete", "compopt", "declare", "dirs", "disown", "enable", "help",
		"history", "let", "local", "logout", "mapfile", "popd", "pushd", "readarray", "shopt", "source", "suspend", "typeset":
		return true
	// dash, busybox
	case "chdir", "setvar":
		return true
	// ksh93, mksh, yash
	case "alarm", "array", "autoload", "basename", "bindkey", "cat", "chmod", "chown", "cmp", "comm", "compound", "cp",
		"cut", "date", "dirname", "domainname", "enum", "expr", "fds", "float", "fold", "functions", "getconf", "global",
		"head", "hist", "id", "integer", "join", "ln", "login", "logname", "mkdir", "mkfifo", "mknod", "mktemp", "mv",
		"nameref", "nohup", "paste", "pathchk", "pids", "poll", "print", "r", "realpath", "redirect", "rename", "rev",
		"rm", "rmdir", "sleep", "stop", "stty", "sum", "sync", "tail", "tee", "tty", "uname", "uniq", "vmstate", "wc",
		"whence", "xgrep":
		return true
	// zsh
	case "always", "bye", "cap", "clone", "comparguments", "compcall", "compctl", "compdescribe", "compfiles",
		"compgroups", "compquote", "compset", "compadd", "comptags", "comptry", "compvalues", "dispatch", "disable", "echotc", "echoti",
		"emulate", "getcap", "getln", "limit", "log", "noglob", "private", "pushln", "rehash", "sched", "setcap",
		"setopt", "stat", "ttyctl", "unfunction", "unhash", "unlimit", "unsetopt", "vared", "where", "which", "zcompile",
		"zformat", "zftp", "zle", "zmodload", "zparseopts", "zprof", "zpty", "zregexparse", "zsocket", "zstyle", "ztcp":
		return true
	}
	return false
}

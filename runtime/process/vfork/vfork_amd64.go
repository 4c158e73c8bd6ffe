//go:build linux

package vfork

const prlimit64 = 302

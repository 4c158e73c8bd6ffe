// Package landlock has threads give up for good what they may do with files and
// the network, and with them all that they start from then on. It needs no
// privilege, and is of Linux alone; see
// https://docs.kernel.org/userspace-api/landlock.html.
package landlock

//go:build linux

#include "textflag.h"

#define SYS_rt_sigprocmask 135
#define SYS_exit 93
#define SYS_clone3 435
#define SIG_SETMASK 2

DATA ·everySignal(SB)/8, $0xffffffffffffffff
GLOBL ·everySignal(SB), RODATA|NOPTR, $8

// func start(clone *cloneArgs, size uintptr, calls *Call, mask *uint64) (pid int)
TEXT ·start(SB), NOSPLIT, $0-40
	MOVD	$SYS_rt_sigprocmask, R8
	MOVD	$SIG_SETMASK, R0
	MOVD	$·everySignal(SB), R1
	MOVD	mask+24(FP), R2
	MOVD	$8, R3
	SVC

	MOVD	calls+16(FP), R9
	MOVD	$SYS_clone3, R8
	MOVD	clone+0(FP), R0
	MOVD	size+8(FP), R1
	SVC
	CBZ	R0, child

	MOVD	R0, pid+32(FP)
	MOVD	$SYS_rt_sigprocmask, R8
	MOVD	$SIG_SETMASK, R0
	MOVD	mask+24(FP), R1
	MOVD	$0, R2
	MOVD	$8, R3
	SVC
	RET

	// From here on there are registers, and no stack: it is the parent's.
child:
	MOVD	0(R9), R8
	MOVD	8(R9), R0
	MOVD	16(R9), R1
	MOVD	24(R9), R2
	MOVD	32(R9), R3
	SVC
	MOVD	R0, 40(R9)
	ADD	$48, R9
	TBZ	$63, R0, child
exit:
	MOVD	$SYS_exit, R8
	MOVD	$253, R0
	SVC
	JMP	exit

// func call(number, a, b, c, d uintptr) (result int)
TEXT ·call(SB), NOSPLIT, $0-48
	MOVD	number+0(FP), R8
	MOVD	a+8(FP), R0
	MOVD	b+16(FP), R1
	MOVD	c+24(FP), R2
	MOVD	d+32(FP), R3
	SVC
	MOVD	R0, result+40(FP)
	RET

//go:build linux

#include "textflag.h"

#define SYS_rt_sigprocmask 14
#define SYS_exit 60
#define SYS_clone3 435
#define SIG_SETMASK 2

DATA ·everySignal(SB)/8, $0xffffffffffffffff
GLOBL ·everySignal(SB), RODATA|NOPTR, $8

// func start(clone *cloneArgs, size uintptr, calls *Call, mask *uint64) (pid int)
TEXT ·start(SB), NOSPLIT, $0-40
	MOVQ	$SYS_rt_sigprocmask, AX
	MOVQ	$SIG_SETMASK, DI
	LEAQ	·everySignal(SB), SI
	MOVQ	mask+24(FP), DX
	MOVQ	$8, R10
	SYSCALL

	MOVQ	calls+16(FP), R12
	MOVQ	$SYS_clone3, AX
	MOVQ	clone+0(FP), DI
	MOVQ	size+8(FP), SI
	SYSCALL
	TESTQ	AX, AX
	JEQ	child

	MOVQ	AX, pid+32(FP)
	MOVQ	$SYS_rt_sigprocmask, AX
	MOVQ	$SIG_SETMASK, DI
	MOVQ	mask+24(FP), SI
	XORL	DX, DX
	MOVQ	$8, R10
	SYSCALL
	RET

	// From here on there are registers, and no stack: it is the parent's.
child:
	MOVQ	0(R12), AX
	MOVQ	8(R12), DI
	MOVQ	16(R12), SI
	MOVQ	24(R12), DX
	MOVQ	32(R12), R10
	SYSCALL
	MOVQ	AX, 40(R12)
	ADDQ	$48, R12
	TESTQ	AX, AX
	JGE	child
exit:
	MOVQ	$SYS_exit, AX
	MOVQ	$253, DI
	SYSCALL
	JMP	exit

// func call(number, a, b, c, d uintptr) (result int)
TEXT ·call(SB), NOSPLIT, $0-48
	MOVQ	number+0(FP), AX
	MOVQ	a+8(FP), DI
	MOVQ	b+16(FP), SI
	MOVQ	c+24(FP), DX
	MOVQ	d+32(FP), R10
	SYSCALL
	MOVQ	AX, result+40(FP)
	RET

#include "textflag.h"

// func clone(args *cloneArgs, size uintptr, steps *step, n int, report uintptr) (pid, errno uintptr)
//
// The child begins with the registers of the parent but on the stack and with the thread-local storage that args names. It
// calls run and comes back to nothing.
TEXT ·clone(SB),NOSPLIT,$0-56
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	steps+16(FP), R12
	MOVQ	n+24(FP), R13
	MOVQ	report+32(FP), R8
	MOVQ	$435, AX // clone3
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	CMPQ	AX, $0xfffffffffffff001
	JLS	made
	NEGQ	AX
	MOVQ	$0, pid+40(FP)
	MOVQ	AX, errno+48(FP)
	RET

made:
	MOVQ	AX, pid+40(FP)
	MOVQ	$0, errno+48(FP)
	RET

child:
	PUSHQ	R8
	PUSHQ	R13
	PUSHQ	R12
	CALL	·run(SB)
	INT	$3

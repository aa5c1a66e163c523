#include "textflag.h"

// func clone(args *cloneArgs, size uintptr, steps *step, n int, report uintptr) (pid, errno uintptr)
//
// The child begins with the registers of the parent but on the stack that args names. It calls run and comes back to
// nothing.
TEXT ·clone(SB),NOSPLIT,$0-56
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	steps+16(FP), R9
	MOVD	n+24(FP), R10
	MOVD	report+32(FP), R11
	MOVD	$435, R8 // clone3
	SVC
	CBZ	R0, child
	CMN	$4095, R0
	BCC	made
	NEG	R0, R0
	MOVD	ZR, pid+40(FP)
	MOVD	R0, errno+48(FP)
	RET

made:
	MOVD	R0, pid+40(FP)
	MOVD	ZR, errno+48(FP)
	RET

child:
	SUB	$32, RSP
	MOVD	R9, 8(RSP)
	MOVD	R10, 16(RSP)
	MOVD	R11, 24(RSP)
	CALL	·run(SB)
	UNDEF

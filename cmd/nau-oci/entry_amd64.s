#include "textflag.h"

// The program begins here and not in the Go runtime where it is linked with -E _nau_oci_entry, as `make build` does. For
// create, run and exec it does what seal does by way of a read-only mount, before the runtime has started: the runtime of a
// process that only executes itself once more is a millisecond for nothing. It decides nothing: whatever goes wrong here,
// or was executed by a descriptor already, goes on to the runtime, and seal looks whether the executable is sealed.
TEXT _nau_oci_entry(SB),NOSPLIT|NOFRAME,$0
	// The stack, as the kernel leaves it: argc, argv, 0, envp, 0, auxv.
	MOVQ	0(SP), AX
	LEAQ	8(SP), R13              // argv
	LEAQ	8(R13)(AX*8), R14       // envp
	TESTQ	AX, AX
	JZ	runtime
	MOVQ	R13, BX

argument:
	ADDQ	$8, BX
	MOVQ	(BX), CX
	TESTQ	CX, CX
	JZ	runtime
	MOVQ	(CX), DX                // the stack goes on behind the last argument
	CMPL	DX, $0x006e7572         // "run\0"
	JEQ	executed
	MOVQ	DX, R8
	SHLQ	$24, R8
	MOVQ	$0x0063657865000000, R9 // "exec\0"
	CMPQ	R8, R9
	JEQ	executed
	SHLQ	$8, DX
	MOVQ	$0x0065746165726300, R9 // "create\0"
	CMPQ	DX, R9
	JNE	argument

executed:
	MOVQ	R14, BX

environment:
	MOVQ	(BX), AX
	ADDQ	$8, BX
	TESTQ	AX, AX
	JNZ	environment

auxiliary:
	MOVQ	0(BX), AX
	TESTQ	AX, AX
	JZ	runtime
	MOVQ	8(BX), CX
	ADDQ	$16, BX
	CMPQ	AX, $31                 // AT_EXECFN: how it was executed
	JNE	auxiliary
	MOVQ	(CX), DX
	MOVQ	$0x2f64662f7665642f, R9 // "/dev/fd/"
	CMPQ	DX, R9
	JEQ	runtime

	MOVQ	$-100, DI               // AT_FDCWD
	LEAQ	self<>(SB), SI
	MOVQ	$0x80001, DX            // OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC
	MOVQ	$428, AX                // open_tree
	SYSCALL
	TESTQ	AX, AX
	JLT	runtime
	MOVQ	AX, R12

	MOVQ	R12, DI
	LEAQ	empty<>(SB), SI
	MOVQ	$0x1000, DX             // AT_EMPTY_PATH
	LEAQ	attributes<>(SB), R10
	MOVQ	$32, R8
	MOVQ	$442, AX                // mount_setattr
	SYSCALL
	TESTQ	AX, AX
	JNZ	close

	MOVQ	R12, DI
	LEAQ	empty<>(SB), SI
	MOVQ	R13, DX
	MOVQ	R14, R10
	MOVQ	$0x1000, R8             // AT_EMPTY_PATH
	MOVQ	$322, AX                // execveat
	SYSCALL

close:
	MOVQ	R12, DI
	MOVQ	$3, AX                  // close
	SYSCALL

runtime:
	JMP	_rt0_amd64_linux(SB)

DATA self<>+0(SB)/8, $"/proc/se"
DATA self<>+8(SB)/8, $"lf/exe\x00\x00"
GLOBL self<>(SB), RODATA, $16

DATA empty<>+0(SB)/8, $0
GLOBL empty<>(SB), RODATA, $8

// struct mount_attr: MOUNT_ATTR_RDONLY, NOSUID, NODEV; nothing cleared; MS_PRIVATE; no user namespace.
DATA attributes<>+0(SB)/8, $7
DATA attributes<>+8(SB)/8, $0
DATA attributes<>+16(SB)/8, $0x40000
DATA attributes<>+24(SB)/8, $0
GLOBL attributes<>(SB), RODATA, $32

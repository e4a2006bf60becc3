/* Preloaded into QEMU: its translator does not get to see that the processor has AVX2.
 *
 * QEMU's translator (TCG) makes 256 bit wide instructions of a guest's where the host has AVX2, and
 * leaves the upper halves of the registers behind when it calls a helper. The helpers are ordinary
 * SSE code, and some Intel processors take some hundred cycles for each step from one to the other:
 * on a Xeon of family 6, model 207, llama.cpp read a prompt in 393 s with and in 32 s without
 * (QEMU 10.0; floating point of AVX2 is all helpers). 128 bits at a time there is no such step.
 *
 * TCG asks the processor by CPUID while the program is loaded, and has no option for it. Intel's
 * CPUID faulting (arch_prctl(2), ARCH_SET_CPUID) makes that instruction a SIGSEGV until main() is
 * reached; here it is carried out, and the bits are taken out of its answer. Where the processor
 * has no CPUID faulting (AMD's have not, and do not need it) nothing is changed. KVM is not
 * concerned: the kernel asks for itself.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* CPUID leaf 7, EBX: AVX2, and AVX-512 F, DQ, BW and VL, which QEMU knows. */
#define WIDE (1u << 5 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31)

typedef int program(int, char **, char **);
typedef int start(program *, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

static struct sigaction before;
static program *wrapped;
static int faulting;

static int fault(int wanted)
{
    return syscall(SYS_arch_prctl, ARCH_SET_CPUID, !wanted) == 0;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)registers[REG_RIP];
    unsigned a, b, c, d;
    unsigned leaf = registers[REG_RAX], subleaf = registers[REG_RCX];

    (void)number;
    (void)info;
    if (at[0] != 0x0f || at[1] != 0xa2) { /* no CPUID: an ordinary crash, which happens again */
        sigaction(SIGSEGV, &before, NULL);
        return;
    }
    fault(0);
    __cpuid_count(leaf, subleaf, a, b, c, d);
    fault(1);
    if (leaf == 7 && subleaf == 0)
        b &= ~WIDE;
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

static int loaded(int argc, char **argv, char **environment)
{
    if (faulting) {
        fault(0);
        sigaction(SIGSEGV, &before, NULL);
    }
    return wrapped(argc, argv, environment);
}

/* The C library's: it calls the program's constructors, and then its main(). */
int __libc_start_main(program *main, int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*end)(void), void *stack)
{
    start *real = (start *)dlsym(RTLD_NEXT, "__libc_start_main");
    struct sigaction ours;

    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO;
    wrapped = main;
    sigaction(SIGSEGV, &ours, &before);
    faulting = fault(1);
    if (!faulting)
        sigaction(SIGSEGV, &before, NULL);
    return real(loaded, argc, argv, init, fini, end, stack);
}

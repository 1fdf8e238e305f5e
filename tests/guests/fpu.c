/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fpu.c - a user program, run in a guest and on the host: the extended state survives system calls,
 * preemption, signals and fork; SIMD and x87 exceptions become the right signals; the results of a
 * fixed computation are printed as hashes. Every line must be the same on both. Freestanding of
 * libm, whose variants depend on CPUID. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PROCS 6
#define ROUNDS 3000

static uint64_t hash = 14695981039346656037ull;
static void mix(const void *p, size_t n)
{
	const unsigned char *b = p;

	while (n--)
		hash = (hash ^ *b++) * 1099511628211ull;
}

struct state {
	_Alignas(32) unsigned char v[16][32];
	long double st[8];
	uint32_t mxcsr;
	uint16_t fcw;
};

static int have_avx;
#define EACH16(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)

/* Load everything, enter the kernel (@nr: system call number), store everything. */
static long through(const struct state *in, struct state *out, long nr, long a, long b)
{
	long ret = nr;
	uint32_t mx = 0x1f80;

	memset(out, 0, sizeof(*out));
	if (have_avx)
		__asm__ volatile(
#define LD(n) "vmovups " #n "*32(%[in]), %%ymm" #n "\n\t"
#define ST(n) "vmovups %%ymm" #n ", " #n "*32(%[out])\n\t"
		"fninit\n\tfldcw %[icw]\n\t"
		"fldt 112+%[ist]\n\tfldt 96+%[ist]\n\tfldt 80+%[ist]\n\tfldt 64+%[ist]\n\t"
		"fldt 48+%[ist]\n\tfldt 32+%[ist]\n\tfldt 16+%[ist]\n\tfldt %[ist]\n\t"
		EACH16(LD) "ldmxcsr %[imx]\n\tsyscall\n\t" "stmxcsr %[omx]\n\t" EACH16(ST)
		"fnstcw %[ocw]\n\t"
		"fstpt %[ost]\n\tfstpt 16+%[ost]\n\tfstpt 32+%[ost]\n\tfstpt 48+%[ost]\n\t"
		"fstpt 64+%[ost]\n\tfstpt 80+%[ost]\n\tfstpt 96+%[ost]\n\tfstpt 112+%[ost]\n\t"
		"fninit\n\tldmxcsr %[mx]\n\tvzeroupper"
		: "+a"(ret), [omx] "=m"(out->mxcsr), [ocw] "=m"(out->fcw), [ost] "=m"(out->st[0])
		: [in] "r"(in->v), [out] "r"(out->v), [icw] "m"(in->fcw), [imx] "m"(in->mxcsr),
		  [ist] "m"(in->st[0]), [mx] "m"(mx), "D"(a), "S"(b)
		: "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
		  "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#undef LD
#undef ST
	else
		__asm__ volatile(
#define LD(n) "movups " #n "*32(%[in]), %%xmm" #n "\n\t"
#define ST(n) "movups %%xmm" #n ", " #n "*32(%[out])\n\t"
		"fninit\n\tfldcw %[icw]\n\t"
		"fldt 112+%[ist]\n\tfldt 96+%[ist]\n\tfldt 80+%[ist]\n\tfldt 64+%[ist]\n\t"
		"fldt 48+%[ist]\n\tfldt 32+%[ist]\n\tfldt 16+%[ist]\n\tfldt %[ist]\n\t"
		EACH16(LD) "ldmxcsr %[imx]\n\tsyscall\n\t" "stmxcsr %[omx]\n\t" EACH16(ST)
		"fnstcw %[ocw]\n\t"
		"fstpt %[ost]\n\tfstpt 16+%[ost]\n\tfstpt 32+%[ost]\n\tfstpt 48+%[ost]\n\t"
		"fstpt 64+%[ost]\n\tfstpt 80+%[ost]\n\tfstpt 96+%[ost]\n\tfstpt 112+%[ost]\n\t"
		"fninit\n\tldmxcsr %[mx]"
		: "+a"(ret), [omx] "=m"(out->mxcsr), [ocw] "=m"(out->fcw), [ost] "=m"(out->st[0])
		: [in] "r"(in->v), [out] "r"(out->v), [icw] "m"(in->fcw), [imx] "m"(in->mxcsr),
		  [ist] "m"(in->st[0]), [mx] "m"(mx), "D"(a), "S"(b)
		: "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
		  "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	return ret;
}

static void fill(struct state *s, unsigned seed)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 16; i++)
		for (unsigned k = 0; k < (have_avx ? 32 : 16); k++)
			s->v[i][k] = (unsigned char)(seed * 31 + i * 7 + k * 13 + 1);
	for (unsigned i = 0; i < 8; i++)
		s->st[i] = (long double)(seed * 100 + i) / 7;
	s->mxcsr = 0x1f80 | (seed & 3) << 13 | (seed & 0x3f);
	s->fcw = (uint16_t)(0x33f | 0x40 | (seed & 3) << 10);
}

static int same(const struct state *a, const struct state *b)
{
	for (unsigned i = 0; i < 8; i++)
		if (memcmp(&a->st[i], &b->st[i], 10))
			return 0;
	return !memcmp(a->v, b->v, sizeof(a->v)) && a->mxcsr == b->mxcsr && a->fcw == b->fcw;
}

static unsigned rounds(unsigned seed, long nr, long a, long b)
{
	struct state in, out;
	unsigned bad = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		fill(&in, seed + i);
		through(&in, &out, nr, a, b);
		bad += !same(&in, &out);
	}
	return bad;
}

static volatile sig_atomic_t signals;
static void clobber(int sig)
{
	struct state s;

	fill(&s, 77);
	__asm__ volatile("fninit\n\tfld1\n\tfldpi\n\tpcmpeqd %%xmm0, %%xmm0\n\tmovaps %%xmm0, %%xmm7\n\t"
			 "movaps %%xmm0, %%xmm15" ::: "xmm0", "xmm7", "xmm15");
	if (have_avx)
		__asm__ volatile("vcmpps $15, %%ymm3, %%ymm3, %%ymm3\n\tvmovaps %%ymm3, %%ymm9"
				 ::: "xmm3", "xmm9");
	signals++;
}

static sigjmp_buf back;
static void on_fpe(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *uc = ctx;

	printf("SIGFPE code %d trap %d mxcsr %x fsw flags %x\n", si->si_code,
	       (int)uc->uc_mcontext.gregs[REG_TRAPNO], uc->uc_mcontext.fpregs->mxcsr,
	       uc->uc_mcontext.fpregs->swd & 0xff);
	siglongjmp(back, 1);
}

static void exceptions(void)
{
	static const uint32_t masks[] = { 0x1f00, 0x1d80, 0x1b80, 0x1780, 0x0f80 };
	static const double ops[][2] = { { 0, 0 }, { 1, 0 }, { 1e300, 1e-300 }, { 1e-300, 1e300 }, { 1, 3 } };
	static const uint16_t cws[] = { 0x37e, 0x37b, 0x377, 0x36f, 0x35f };
	struct sigaction sa = { .sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO };
	uint32_t mx = 0x1f80;

	sigaction(SIGFPE, &sa, NULL);
	for (volatile unsigned m = 0; m < 5; m++)
		for (volatile unsigned o = 0; o < 5; o++) {
			if (sigsetjmp(back, 1))
				continue;
			__asm__ volatile("ldmxcsr %0\n\tmovsd %1, %%xmm1\n\tdivsd %2, %%xmm1\n\tldmxcsr %3"
					 :: "m"(masks[m]), "m"(ops[o][0]), "m"(ops[o][1]), "m"(mx) : "xmm1");
			printf("sse %u %u quiet\n", m, o);
		}
	for (volatile unsigned m = 0; m < 5; m++)
		for (volatile unsigned o = 0; o < 5; o++) {
			double r = 0;

			if (sigsetjmp(back, 1)) {
				__asm__ volatile("fninit");
				continue;
			}
			__asm__ volatile("fninit\n\tfldcw %1\n\tfldl %2\n\tfdivl %3\n\tfstpl %0\n\tfwait\n\tfninit"
					 : "=m"(r) : "m"(cws[m]), "m"(ops[o][0]), "m"(ops[o][1]));
			printf("x87 %u %u quiet\n", m, o);
		}
	__asm__ volatile("ldmxcsr %0\n\tfninit" :: "m"(mx));
}

static void compute(void)
{
	long double x = 0.1L, y, z = 1;
	float f[64];
	double d[64];

	for (int i = 0; i < 20000; i++) {
		__asm__ volatile("fsin" : "=t"(y) : "0"(x));
		mix(&y, 10);
		__asm__ volatile("fyl2x" : "=t"(y) : "0"(x + 1), "u"(z) : "st(1)");
		mix(&y, 10);
		__asm__ volatile("fsqrt" : "=t"(y) : "0"(x));
		z = z * 0.999L + y / (x + 3);
		mix(&z, 10);
		x += 0.37L;
	}
	for (int i = 0; i < 64; i++) {
		f[i] = (float)i / 3;
		d[i] = 1.0 / (i + 1);
	}
	for (int n = 0; n < 20000; n++)
		for (int i = 0; i < 64; i++) {
			f[i] = f[i] * 1.0001f + f[(i + 5) & 63] / 1e6f;
			d[i] = d[i] * 0.99999 + d[(i + 9) & 63] * d[i];
			if (d[i] > 1e30)
				d[i] = 1 / d[i];
			if (f[i] > 1e20f)
				f[i] = 1 / f[i];
		}
	mix(f, sizeof(f));
	mix(d, sizeof(d));
	printf("hash %016llx\n", (unsigned long long)hash);
}

int main(void)
{
	unsigned bad = 0;
	struct sigaction sa = { .sa_handler = clobber };

	setvbuf(stdout, NULL, _IOLBF, 0);
	__builtin_cpu_init();
	have_avx = __builtin_cpu_supports("avx") != 0;
	for (int p = 0; p < PROCS; p++)
		if (!fork())
			_exit(rounds((unsigned)p * 1000, 24 /* sched_yield */, 0, 0) != 0);
	for (int p = 0; p < PROCS; p++) {
		int st;

		wait(&st);
		bad += st != 0;
	}
	printf("switches: %u bad\n", bad);
	sigaction(SIGUSR1, &sa, NULL);
	bad = rounds(5, 62 /* kill */, getpid(), SIGUSR1);
	printf("signals: %u bad of %d\n", bad, (int)signals);
	exceptions();
	compute();
	return 0;
}

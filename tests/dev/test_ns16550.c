/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The UART against its data sheet, and its back ends: nothing lost, nobody blocked. */
#include "unit.h"
#include "base/loop.h"
#include "dev/devtest.h"
#include "dev/ns16550.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RBR = 0, THR = 0, DLL = 0, IER = 1, DLM = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5,
       MSR = 6, SCR = 7 };

struct ctx {
	struct machine *m;
	struct ns16550 *u;
	struct chardev *be;
	struct probe irq;
};

static u8 rd(struct ctx *x, unsigned r) { return inb(x->m, 0x3f8 + r); }
static void wr(struct ctx *x, unsigned r, u8 v) { outb(x->m, 0x3f8 + r, v); }
static void feed(struct ctx *x, const char *s)
{
	assert_int_equal(chardev_mem_input(x->be, s, strlen(s), NULL), 0);
}

static int setup(void **st)
{
	struct ctx *x = calloc(1, sizeof(*x));
	struct err e = { 0 };

	x->m = dt_machine(1);
	assert_int_equal(chardev_mem_new(&x->be, 4096, &e), 0);
	assert_int_equal(ns16550_new(&x->u, x->m, 0x3f8, probe_line(&x->irq), x->be, &e), 0);
	assert_int_equal(machine_add_device(x->m, &ns16550_class, x->u, "uart", &e), 0);
	assert_int_equal(state_check(ns16550_class.state, x->u, "uart", &e), 0);
	*st = x;
	return 0;
}

static int teardown(void **st)
{
	struct ctx *x = *st;

	chardev_free(x->be);		/* before its chip: that is allowed */
	machine_free(x->m);
	free(x);
	return 0;
}

static void after_reset(void **st)
{
	struct ctx *x = *st;

	assert_int_equal(rd(x, IER), 0);
	assert_int_equal(rd(x, IIR), 0x01);
	assert_int_equal(rd(x, LCR), 0);
	assert_int_equal(rd(x, MCR), 0);
	assert_int_equal(rd(x, LSR), 0x60);
	assert_int_equal(rd(x, MSR), 0xb0);	/* somebody is plugged in: DCD DSR CTS */
	wr(x, SCR, 0xa5);
	assert_int_equal(rd(x, SCR), 0xa5);
	wr(x, LSR, 0xff);
	assert_int_equal(rd(x, LSR), 0x60);
	wr(x, IER, 0xff);
	assert_int_equal(rd(x, IER), 0x0f);
	wr(x, MCR, 0xff);
	assert_int_equal(rd(x, MCR), 0x1f);
	wr(x, LCR, 0x83);
	wr(x, DLL, 0x34);
	wr(x, DLM, 0x12);
	assert_int_equal(rd(x, DLL), 0x34);
	assert_int_equal(rd(x, DLM), 0x12);
	wr(x, LCR, 0x03);
	assert_int_equal(rd(x, IER), 0x0f);
	wr(x, FCR, 0x01);
	assert_int_equal(rd(x, IIR) & 0xc0, 0xc0);	/* a 16550A */
	wr(x, FCR, 0x00);
	assert_int_equal(rd(x, IIR) & 0xc0, 0x00);
}

static void sends(void **st)
{
	struct ctx *x = *st;
	const char *text = "hello, world";
	size_t n;

	for (const char *p = text; *p; p++) {
		assert_true(rd(x, LSR) & 0x20);
		wr(x, THR, *p);
	}
	assert_string_equal(chardev_mem_output(x->be, &n), text);
	/* A peer that is stuck: THRE goes, and all comes when it reads again. */
	chardev_mem_clear(x->be);
	wr(x, FCR, 0x01);
	chardev_mem_stall(x->be, true);
	wr(x, THR, '0');
	assert_int_equal(rd(x, LSR) & 0x60, 0);
	for (unsigned i = 1; i < 16; i++)
		wr(x, THR, '0' + i);
	assert_string_equal(chardev_mem_output(x->be, &n), "");
	chardev_mem_stall(x->be, false);
	assert_string_equal(chardev_mem_output(x->be, &n), "0123456789:;<=>?");
	assert_int_equal(rd(x, LSR) & 0x60, 0x60);
	/* Clearing the FIFO drops what waits. */
	chardev_mem_clear(x->be);
	chardev_mem_stall(x->be, true);
	wr(x, THR, 'x');
	wr(x, FCR, 0x05);
	chardev_mem_stall(x->be, false);
	assert_string_equal(chardev_mem_output(x->be, &n), "");
}

static void thre_interrupt(void **st)
{
	struct ctx *x = *st;

	wr(x, MCR, 0x08);
	wr(x, IER, 0x02);			/* enabling it while empty interrupts */
	assert_int_equal(x->irq.rises, 1);
	assert_int_equal(rd(x, IIR), 0x02);	/* reading IIR is the answer */
	assert_false(x->irq.level);
	assert_int_equal(rd(x, IIR), 0x01);
	wr(x, THR, 'a');			/* sent at once: a new edge */
	assert_int_equal(x->irq.rises, 2);
	wr(x, THR, 'b');
	assert_int_equal(x->irq.rises, 3);
	assert_int_equal(x->irq.falls, 2);
	assert_int_equal(rd(x, IIR), 0x02);
	wr(x, IER, 0x00);
	wr(x, IER, 0x02);			/* re-armed by the enable */
	assert_int_equal(x->irq.rises, 4);
	chardev_mem_stall(x->be, true);
	wr(x, THR, 'c');
	assert_false(x->irq.level);
	chardev_mem_stall(x->be, false);
	assert_true(x->irq.level);
	/* OUT2 off: the chip is not connected to the bus. */
	wr(x, MCR, 0x00);
	assert_false(x->irq.level);
	assert_int_equal(rd(x, IIR), 0x02);
}

static void receives(void **st)
{
	struct ctx *x = *st;

	wr(x, MCR, 0x08);
	wr(x, IER, 0x01);
	feed(x, "abc");				/* no FIFO: one waits in the chip, two outside */
	assert_true(x->irq.level);
	assert_int_equal(rd(x, IIR), 0x04);
	assert_int_equal(rd(x, LSR) & 1, 1);
	assert_int_equal(rd(x, RBR), 'a');
	assert_int_equal(rd(x, RBR), 'b');
	assert_int_equal(rd(x, RBR), 'c');
	assert_int_equal(rd(x, LSR) & 1, 0);
	assert_false(x->irq.level);
	assert_int_equal(rd(x, LSR) & 0x02, 0);	/* nothing ran over */
}

static void fifo_and_timeout(void **st)
{
	struct ctx *x = *st;

	wr(x, LCR, 0x83);
	wr(x, DLL, 1);				/* 115200 baud: a character is 87 us */
	wr(x, LCR, 0x03);
	wr(x, FCR, 0x81);			/* trigger at 8 */
	wr(x, MCR, 0x08);
	wr(x, IER, 0x01);
	feed(x, "1234567");
	assert_false(x->irq.level);
	feed(x, "8");
	assert_true(x->irq.level);
	assert_int_equal(rd(x, IIR), 0xc4);
	assert_int_equal(rd(x, RBR), '1');
	assert_false(x->irq.level);		/* 7 left */
	pass(x->m, 300 * US);
	assert_false(x->irq.level);
	pass(x->m, 60 * US);			/* four characters' time */
	assert_true(x->irq.level);
	assert_int_equal(rd(x, IIR), 0xcc);
	assert_int_equal(rd(x, RBR), '2');
	assert_false(x->irq.level);
	assert_int_equal(rd(x, IIR), 0xc1);
	pass(x->m, 400 * US);
	assert_int_equal(rd(x, IIR), 0xcc);
	for (unsigned i = 0; i < 6; i++)
		rd(x, RBR);
	assert_int_equal(rd(x, IIR), 0xc1);
	pass(x->m, 10 * MS);
	assert_int_equal(rd(x, IIR), 0xc1);	/* empty: no time-out */
	/* More than the FIFO holds: 16 in, the rest follows as it is read. */
	feed(x, "abcdefghijklmnopqrstuvwxyz");
	for (unsigned i = 0; i < 26; i++)
		assert_int_equal(rd(x, RBR), 'a' + i);
	assert_int_equal(rd(x, LSR), 0x60);
	/* Clearing the receiver. */
	feed(x, "zzz");
	wr(x, FCR, 0x03);
	assert_int_equal(rd(x, LSR) & 1, 0);
}

static void loopback(void **st)
{
	struct ctx *x = *st;
	size_t n;

	wr(x, LCR, 0x03);
	wr(x, MCR, 0x10);
	assert_int_equal(rd(x, MSR) & 0xf0, 0);
	wr(x, MCR, 0x1a);			/* RTS and OUT2: CTS and DCD */
	assert_int_equal(rd(x, MSR), 0x90 | 0x09);
	assert_int_equal(rd(x, MSR), 0x90);
	wr(x, MCR, 0x1f);
	assert_int_equal(rd(x, MSR), 0xf0 | 0x02);
	wr(x, MCR, 0x1b);			/* the ring ends: trailing edge */
	assert_int_equal(rd(x, MSR), 0xb0 | 0x04);
	feed(x, "outside");
	wr(x, THR, 0x5a);
	assert_int_equal(rd(x, RBR), 0x5a);
	assert_string_equal(chardev_mem_output(x->be, &n), "");
	wr(x, LCR, 0x00);			/* five bits */
	wr(x, THR, 0xff);
	assert_int_equal(rd(x, RBR), 0x1f);
	wr(x, LCR, 0x03);
	/* Two bytes without a FIFO: the second overwrites, and LSR says so. */
	wr(x, IER, 0x05);
	wr(x, THR, 'a');
	assert_int_equal(rd(x, IIR), 0x04);
	wr(x, THR, 'b');
	assert_int_equal(rd(x, IIR), 0x06);	/* line status comes first */
	assert_int_equal(rd(x, LSR), 0x63);
	assert_int_equal(rd(x, LSR), 0x61);
	assert_int_equal(rd(x, RBR), 'b');
	/* Seventeen with one: the last is lost. */
	wr(x, FCR, 0x07);
	for (unsigned i = 0; i < 17; i++)
		wr(x, THR, 'A' + i);
	assert_int_equal(rd(x, LSR) & 0x03, 0x03);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(rd(x, RBR), 'A' + i);
	/* Break, looped back, at its place in the FIFO. */
	wr(x, THR, 'x');
	wr(x, LCR, 0x43);
	assert_int_equal(rd(x, LSR) & 0x91, 0x81);	/* an error waits in the FIFO */
	assert_int_equal(rd(x, RBR), 'x');
	assert_int_equal(rd(x, LSR) & 0x91, 0x91);
	assert_int_equal(rd(x, RBR), 0);
	wr(x, LCR, 0x03);
	wr(x, MCR, 0x0b);			/* out of it: what waited outside comes in */
	assert_int_equal(rd(x, RBR), 'o');
}

static void modem_lines(void **st)
{
	struct ctx *x = *st;

	wr(x, MCR, 0x08);
	wr(x, IER, 0x08);
	assert_false(x->irq.level);
	chardev_event(x->be, CHARDEV_CLOSED);
	assert_true(x->irq.level);
	assert_int_equal(rd(x, IIR), 0x00);
	assert_int_equal(rd(x, MSR), 0x0b);
	assert_false(x->irq.level);
	wr(x, THR, 'x');			/* into an open cable */
	assert_int_equal(rd(x, LSR), 0x60);
	chardev_event(x->be, CHARDEV_OPENED);
	assert_int_equal(rd(x, MSR), 0xbb);
	chardev_mem_stall(x->be, true);		/* it stops reading, and then goes */
	wr(x, THR, 'x');
	assert_int_equal(rd(x, LSR), 0x00);
	chardev_event(x->be, CHARDEV_CLOSED);
	assert_int_equal(rd(x, LSR), 0x60);
	chardev_mem_stall(x->be, false);
	chardev_event(x->be, CHARDEV_OPENED);
	assert_int_equal(rd(x, MSR), 0xbb);
	wr(x, IER, 0x04);
	chardev_event(x->be, CHARDEV_BREAK);
	assert_int_equal(rd(x, IIR), 0x06);
	assert_int_equal(rd(x, LSR), 0x71);
	assert_int_equal(rd(x, RBR), 0);
}

static void saved(void **st)
{
	struct ctx *x = *st, y = { 0 };
	struct err e = { 0 };

	wr(x, FCR, 0x41);
	wr(x, MCR, 0x0b);
	wr(x, IER, 0x0f);
	feed(x, "pending");
	chardev_mem_stall(x->be, true);
	wr(x, THR, 'q');
	y.m = dt_machine(1);
	assert_int_equal(chardev_mem_new(&y.be, 4096, &e), 0);
	assert_int_equal(ns16550_new(&y.u, y.m, 0x3f8, probe_line(&y.irq), y.be, &e), 0);
	chardev_mem_stall(y.be, true);
	dev_copy(&ns16550_class, x->u, y.u);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(rd(x, i % 8), rd(&y, i % 8));
	assert_int_equal(x->irq.level, y.irq.level);
	chardev_mem_stall(y.be, false);
	assert_string_equal(chardev_mem_output(y.be, NULL), "q");
	ns16550_class.free(y.u);
	chardev_free(y.be);
	machine_free(y.m);
}

/* --- the back end over descriptors, with the machine's loop running --- */

struct pump {
	struct machine *m;
	pthread_t thread;
};
static void *pump_main(void *arg)
{
	loop_run(((struct pump *)arg)->m->loop);
	return NULL;
}

static void over_a_socket(void **st)
{
	struct ctx x = { 0 };
	struct err e = { 0 };
	struct chardev_fd_opts o = { 0 };
	struct pump p;
	enum { N = 300000 };
	u8 *got = malloc(N);
	size_t have = 0, sent = 0;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	x.m = dt_machine(1);
	o.in = o.out = sv[0];
	assert_int_equal(chardev_fd_new(&x.be, x.m->loop, &o, &e), 0);
	assert_int_equal(ns16550_new(&x.u, x.m, 0x3f8, probe_line(&x.irq), x.be, &e), 0);
	p.m = x.m;
	assert_int_equal(pthread_create(&p.thread, NULL, pump_main, &p), 0);
	/* A guest that looks at THRE, and a peer that reads slowly: all arrives, in order. */
	machine_lock(x.m);
	wr(&x, FCR, 0x01);
	machine_unlock(x.m);
	while (have < N) {
		ssize_t k;

		machine_lock(x.m);
		while (sent < N && (rd(&x, LSR) & 0x20)) {
			for (unsigned i = 0; i < 16 && sent < N; i++, sent++)
				wr(&x, THR, sent * 7);
		}
		machine_unlock(x.m);
		k = recv(sv[1], got + have, MIN(N - have, 3000), have < sent ? 0 : MSG_DONTWAIT);
		if (k > 0)
			have += k;
	}
	for (unsigned i = 0; i < N; i++)
		if (got[i] != (u8)(i * 7))
			fail_msg("byte %u of %u is wrong", i, N);
	/* And the other way, more than all buffers hold. */
	for (sent = have = 0; have < N;) {
		if (sent < N) {
			ssize_t k = send(sv[1], got + sent, MIN(N - sent, 3000), MSG_DONTWAIT);

			if (k > 0)
				sent += k;
		}
		machine_lock(x.m);
		while (rd(&x, LSR) & 1) {
			assert_int_equal(rd(&x, RBR), (u8)(have * 7));
			have++;
		}
		machine_unlock(x.m);
	}
	/* The peer goes: carrier drops, nothing hangs, nothing dies of SIGPIPE. */
	close(sv[1]);
	for (unsigned i = 0; i < 2000; i++) {
		machine_lock(x.m);
		wr(&x, THR, 'x');
		bool gone = !(rd(&x, MSR) & 0x80);
		machine_unlock(x.m);
		if (gone)
			break;
		usleep(1000);
	}
	machine_lock(x.m);
	assert_int_equal(rd(&x, MSR) & 0xf0, 0);
	machine_unlock(x.m);
	loop_quit(x.m->loop);
	pthread_join(p.thread, NULL);
	ns16550_class.free(x.u);
	chardev_free(x.be);
	machine_free(x.m);
	close(sv[0]);
	free(got);
}

/* What a guest said last reaches a pipe or a file even if the machine ends at once; the
 * descriptor's flags are as they were. */
static void last_words(void **st)
{
	char path[] = "/tmp/penta-uart-XXXXXX";
	int file = mkstemp(path), fds[2];

	assert_int_equal(pipe(fds), 0);
	for (unsigned which = 0; which < 2; which++) {
		struct ctx x = { 0 };
		struct err e = { 0 };
		struct chardev_fd_opts o = { .in = -1, .out = which ? file : fds[1] };
		char buf[64] = "";
		int flags = fcntl(o.out, F_GETFL);

		x.m = dt_machine(1);
		assert_int_equal(chardev_fd_new(&x.be, x.m->loop, &o, &e), 0);
		assert_int_equal(ns16550_new(&x.u, x.m, 0x3f8, probe_line(&x.irq), x.be, &e), 0);
		for (const char *s = "Power down"; *s; s++)
			wr(&x, THR, *s);
		chardev_free(x.be);
		wr(&x, THR, 'x');		/* the chip lives on without it */
		ns16550_class.free(x.u);
		machine_free(x.m);
		assert_int_equal(fcntl(o.out, F_GETFL), flags);
		if (which)
			assert_int_equal(pread(file, buf, sizeof(buf) - 1, 0), 10);
		else
			assert_int_equal(read(fds[0], buf, sizeof(buf) - 1), 10);
		assert_string_equal(buf, "Power down");
	}
	close(fds[0]);
	close(fds[1]);
	close(file);
	unlink(path);
}

/* Lossy: a log that nobody reads keeps the latest; closed pipes and ends of input are no harm. */
static void odd_peers(void **st)
{
	struct ctx x = { 0 };
	struct err e = { 0 };
	struct chardev_fd_opts o = { .in = -1, .lossy = true };
	int fds[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(pipe(fds), 0);
	o.out = fds[1];
	x.m = dt_machine(1);
	assert_int_equal(chardev_fd_new(&x.be, x.m->loop, &o, &e), 0);
	for (unsigned i = 0; i < 300000; i++) {
		u8 c = i;

		assert_int_equal(chardev_send(x.be, &c, 1), 1);
	}
	close(fds[0]);
	chardev_free(x.be);
	close(fds[1]);
	/* /dev/null both ways: ends at once, takes everything. */
	o = (struct chardev_fd_opts){ .in = null, .out = null };
	assert_int_equal(chardev_fd_new(&x.be, x.m->loop, &o, &e), 0);
	assert_int_equal(ns16550_new(&x.u, x.m, 0x3f8, probe_line(&x.irq), x.be, &e), 0);
	for (unsigned i = 0; i < 100; i++)
		wr(&x, THR, 'x');
	assert_int_equal(rd(&x, LSR), 0x60);
	ns16550_class.free(x.u);
	chardev_free(x.be);
	o.in = 12345;
	assert_int_equal(chardev_fd_new(&x.be, x.m->loop, &o, &e), -EBADF);
	machine_free(x.m);
	close(null);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(after_reset), T(sends), T(thre_interrupt), T(receives), T(fifo_and_timeout),
		T(loopback), T(modem_lines), T(saved),
		cmocka_unit_test(over_a_socket), cmocka_unit_test(last_words),
		cmocka_unit_test(odd_peers),
	};

	return cmocka_run_group_tests_name("ns16550", tests, NULL, NULL);
}

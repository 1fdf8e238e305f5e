/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_console.c - the console device under a driver of ours: one console alone, several ports,
 * flow control both ways, open and close, names, sizes, emergency writes, save and restore. */
#include "unit.h"

#include "base/trace.h"
#include <errno.h>
#include "virtio/console.h"
#include "virtio/driver.h"

#define F_SIZE BIT(0)
#define F_MULTIPORT BIT(1)
#define F_EMERG BIT(2)
enum { EV_READY, EV_ADD, EV_REMOVE, EV_PORT_READY, EV_CONSOLE, EV_RESIZE, EV_OPEN, EV_NAME };

struct rig {
	struct drv d;
	struct vconsole *c;
	struct chardev *be[3];
	u64 out;		/* a page to send from */
	u64 in[64];		/* by queue: the buffer that is there to be filled, and its id */
	int in_id[64];
};

static void be_free(void *dev) { chardev_free(dev); }
static const struct device_class be_class = { .name = "be", .free = be_free };

static void make(struct rig *r, unsigned nports, const char *const *names)
{
	static const char *const paths[] = { "be0", "be1", "be2" };
	struct vconsole_port port[3];
	struct err e = { 0 };

	memset(r, 0, sizeof(*r));
	drv_machine(&r->d);
	for (unsigned i = 0; i < nports; i++) {
		assert_int_equal(chardev_mem_new(&r->be[i], 8192, &e), 0);
		assert_int_equal(machine_add_device(r->d.m, &be_class, r->be[i], paths[i], &e), 0);
		port[i] = (struct vconsole_port){ names[i], r->be[i] };
	}
	assert_int_equal(vconsole_new(&r->c, r->d.m, nports, port, &e), 0);
	assert_int_equal(machine_add_device(r->d.m, &vconsole_class, r->c, "con", &e), 0);
	drv_plug(&r->d, vconsole_virtio(r->c));
	r->out = drv_alloc(&r->d, 8192);
}

static void give(struct rig *r, unsigned q, u32 len)
{
	if (!r->in[q])
		r->in[q] = drv_alloc(&r->d, 256);
	r->in_id[q] = drv_add(&r->d.q[q], NULL, 0, &(struct drv_seg){ r->in[q], len }, 1);
	assert_true(r->in_id[q] >= 0);
	drv_kick(&r->d, q);
	drv_pump(&r->d);
}

static void expect(struct rig *r, unsigned q, const char *text)
{
	char got[256];
	u32 len;

	assert_int_equal(drv_used(&r->d.q[q], &len), r->in_id[q]);
	assert_int_equal(len, strlen(text));
	drv_get(&r->d, r->in[q], got, len);
	assert_memory_equal(got, text, len);
}

static void expect_nothing(struct rig *r, unsigned q)
{
	assert_int_equal(drv_used(&r->d.q[q], NULL), -1);
}

static void send_text(struct rig *r, unsigned q, const char *text)
{
	u32 n = (u32)strlen(text);

	drv_put(&r->d, r->out, text, n);
	assert_true(drv_add(&r->d.q[q], &(struct drv_seg){ r->out, n }, 1, NULL, 0) >= 0);
	drv_kick(&r->d, q);
	drv_pump(&r->d);
}

static void control(struct rig *r, u32 id, u16 event, u16 value)
{
	u8 m[8];

	put_le32(m, id);
	put_le16(m + 4, event);
	put_le16(m + 6, value);
	drv_put(&r->d, r->out, m, 8);
	assert_true(drv_add(&r->d.q[3], &(struct drv_seg){ r->out, 8 }, 1, NULL, 0) >= 0);
	drv_kick(&r->d, 3);
	drv_pump(&r->d);
	assert_true(drv_used(&r->d.q[3], NULL) >= 0);
}

/* The next message to us is this one, with @more after it. */
static void expect_control(struct rig *r, u32 id, u16 event, u16 value, const void *more, u32 n)
{
	u8 m[256];
	u32 len;

	if (drv_used(&r->d.q[2], &len) < 0)
		fail_msg("no message: expected port %u event %u", id, event);
	drv_get(&r->d, r->in[2], m, len);
	assert_int_equal(get_le32(m), id);
	assert_int_equal(get_le16(m + 4), event);
	assert_int_equal(get_le16(m + 6), value);
	assert_int_equal(len, 8 + n);
	assert_memory_equal(m + 8, more, n);
	give(r, 2, 256);
}

static const char *said(struct rig *r, unsigned port)
{
	return chardev_mem_output(r->be[port], NULL);
}

/* A buffer of many megabytes goes out a piece at a time: the loop has others to serve. */
static void test_large(void **state)
{
	static const char *const names[] = { NULL };
	struct drv_seg s[16];
	unsigned rounds = 0;
	struct rig r;

	make(&r, 1, names);
	assert_true(drv_start(&r.d, VIRTIO_F_INDIRECT_DESC));
	for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
		s[i] = (struct drv_seg){ 0, 1 * MiB };
	assert_true(drv_add(&r.d.q[1], s, ARRAY_SIZE(s), NULL, 0) >= 0);
	drv_kick(&r.d, 1);
	do {
		drv_pump(&r.d);			/* four times round */
		chardev_mem_clear(r.be[0]);
		rounds++;
	} while (drv_used(&r.d.q[1], NULL) < 0 && rounds < 1000);
	assert_in_range(rounds, 8, 999);
	drv_end(&r.d);
}

/* --- one console --- */

static void test_plain(void **state)
{
	static const char *const names[] = { NULL };
	struct err e = { 0 };
	struct rig r;

	make(&r, 1, names);
	drv_map(&r.d, true);
	assert_int_equal(drv_offered(&r.d) & 0xff, F_SIZE | F_EMERG);
	drv_write(&r.d, DRV_DEVICE + 8, '!', 4);	/* before anything is set up */
	assert_string_equal(said(&r, 0), "!");
	vconsole_resize(r.c, 0, 132, 50);
	assert_true(drv_start(&r.d, F_SIZE));
	assert_int_equal(r.d.nqueues, 2);
	assert_int_equal(drv_read(&r.d, DRV_DEVICE, 4), 50 << 16 | 132);
	vconsole_resize(r.c, 0, 80, 24);
	vconsole_resize(r.c, 0, 80, 24);
	assert_int_equal(r.d.config_interrupts, 1);
	assert_int_equal(drv_read(&r.d, DRV_DEVICE, 4), 24 << 16 | 80);

	send_text(&r, 1, "hello");
	send_text(&r, 1, " world");
	assert_string_equal(said(&r, 0), "!hello world");
	assert_true(drv_used(&r.d.q[1], NULL) >= 0 && drv_used(&r.d.q[1], NULL) >= 0);

	/* Input waits for buffers and is cut to their size. */
	assert_int_equal(chardev_mem_input(r.be[0], "abcdef", 6, &e), 0);
	expect_nothing(&r, 0);
	give(&r, 0, 4);
	expect(&r, 0, "abcd");
	give(&r, 0, 4);
	expect(&r, 0, "ef");
	give(&r, 0, 0 + 16);
	expect_nothing(&r, 0);
	assert_int_equal(chardev_mem_input(r.be[0], "gh", 2, &e), 0);
	expect(&r, 0, "gh");
	assert_false(drv_status(&r.d) & VIRTIO_NEEDS_RESET);
	drv_end(&r.d);
}

/* --- flow control from the guest --- */

static void test_stuck(void **state)
{
	static const char *const names[] = { NULL };
	struct rig r;

	make(&r, 1, names);
	assert_true(drv_start(&r.d, 0));
	chardev_mem_stall(r.be[0], true);
	send_text(&r, 1, "one ");
	for (unsigned i = 0; i < 100; i++)
		assert_true(drv_add(&r.d.q[1], &(struct drv_seg){ r.out, 4 }, 1, NULL, 0) >= 0);
	drv_kick(&r.d, 1);
	drv_pump(&r.d);
	expect_nothing(&r, 1);
	assert_string_equal(said(&r, 0), "");
	chardev_mem_stall(r.be[0], false);
	drv_pump(&r.d);
	for (unsigned i = 0; i < 101; i++)
		assert_true(drv_used(&r.d.q[1], NULL) >= 0);
	assert_int_equal(strlen(said(&r, 0)), 404);
	/* A reset while it is stuck loses what is there, and no more. */
	chardev_mem_stall(r.be[0], true);
	send_text(&r, 1, "lost");
	assert_true(drv_start(&r.d, 0));
	chardev_mem_clear(r.be[0]);
	chardev_mem_stall(r.be[0], false);
	send_text(&r, 1, "kept");
	assert_string_equal(said(&r, 0), "kept");
	drv_end(&r.d);
}

/* --- ports --- */

static void ports_up(struct rig *r, u64 more)
{
	assert_true(drv_start(&r->d, F_SIZE | F_MULTIPORT | more));
	assert_int_equal(r->d.nqueues, 8);
	give(r, 2, 256);
	expect_nothing(r, 2);
	control(r, 0xffffffff, EV_READY, 1);
	for (unsigned i = 0; i < 3; i++)
		expect_control(r, i, EV_ADD, 1, NULL, 0);
}

static void test_ports(void **state)
{
	static const char *const names[] = { NULL, "org.penta.agent", "two" };

	for (unsigned packed = 0; packed < 2; packed++) {
		static const u8 size[] = { 100, 0, 40, 0 };
		struct err e = { 0 };
		struct rig r;

		make(&r, 3, names);
		vconsole_resize(r.c, 0, 100, 40);
		chardev_event(r.be[2], CHARDEV_CLOSED);
		ports_up(&r, packed ? VIRTIO_F_RING_PACKED : 0);
		assert_int_equal(drv_read(&r.d, DRV_DEVICE + 4, 4), 3);
		control(&r, 0, EV_PORT_READY, 1);
		expect_control(&r, 0, EV_CONSOLE, 1, NULL, 0);
		expect_control(&r, 0, EV_OPEN, 1, NULL, 0);
		expect_control(&r, 0, EV_RESIZE, 1, size, 4);
		control(&r, 1, EV_PORT_READY, 1);
		expect_control(&r, 1, EV_NAME, 1, names[1], 15);
		expect_control(&r, 1, EV_OPEN, 1, NULL, 0);
		control(&r, 2, EV_PORT_READY, 1);
		expect_control(&r, 2, EV_NAME, 1, names[2], 3);
		expect_nothing(&r, 2);			/* nobody is at port 2 */
		chardev_event(r.be[2], CHARDEV_OPENED);
		expect_control(&r, 2, EV_OPEN, 1, NULL, 0);
		chardev_event(r.be[2], CHARDEV_CLOSED);
		chardev_event(r.be[2], CHARDEV_CLOSED);
		expect_control(&r, 2, EV_OPEN, 0, NULL, 0);

		/* Input of a closed channel waits for the program that opens it. */
		give(&r, 4, 64);
		assert_int_equal(chardev_mem_input(r.be[1], "question", 8, &e), 0);
		expect_nothing(&r, 4);
		control(&r, 1, EV_OPEN, 1);
		expect(&r, 4, "question");
		send_text(&r, 5, "answer");
		assert_string_equal(said(&r, 1), "answer");
		assert_string_equal(said(&r, 0), "");
		control(&r, 1, EV_OPEN, 0);
		give(&r, 4, 64);
		assert_int_equal(chardev_mem_input(r.be[1], "later", 5, &e), 0);
		expect_nothing(&r, 4);
		control(&r, 1, EV_OPEN, 1);
		expect(&r, 4, "later");

		/* Messages about ports that are not there, and too short ones, are passed over. */
		control(&r, 3, EV_OPEN, 1);
		control(&r, UINT32_MAX, EV_PORT_READY, 1);
		control(&r, 0, 99, 1);
		assert_true(drv_add(&r.d.q[3], &(struct drv_seg){ r.out, 7 }, 1, NULL, 0) >= 0);
		drv_kick(&r.d, 3);
		drv_pump(&r.d);
		expect_nothing(&r, 2);
		assert_false(drv_status(&r.d) & VIRTIO_NEEDS_RESET);
		drv_end(&r.d);
	}
}

/* Many changes while the driver has no buffer for messages cost one message, the last. */
static void test_told_once(void **state)
{
	static const char *const names[] = { NULL, "one", "two" };
	static const u8 size[] = { 231, 3, 7, 0 };	/* 999 x 7 */
	struct rig r;

	make(&r, 3, names);
	ports_up(&r, 0);
	control(&r, 0, EV_PORT_READY, 1);
	expect_control(&r, 0, EV_CONSOLE, 1, NULL, 0);
	expect_control(&r, 0, EV_OPEN, 1, NULL, 0);
	vconsole_resize(r.c, 0, 1, 7);		/* takes the one buffer */
	for (u16 i = 0; i < 1000; i++)
		vconsole_resize(r.c, 0, i, 7);
	assert_true(drv_used(&r.d.q[2], NULL) >= 0);
	give(&r, 2, 256);
	expect_control(&r, 0, EV_RESIZE, 1, size, 4);
	expect_nothing(&r, 2);
	/* A buffer that holds no message. */
	assert_true(drv_start(&r.d, F_MULTIPORT));
	give(&r, 2, 4);
	assert_true(drv_add(&r.d.q[3], &(struct drv_seg){ r.out, 8 }, 1, NULL, 0) >= 0);
	drv_put(&r.d, r.out, (u8[]){ 0, 0, 0, 0, EV_READY, 0, 1, 0 }, 8);
	drv_kick(&r.d, 3);
	drv_pump(&r.d);
	assert_true(drv_status(&r.d) & VIRTIO_NEEDS_RESET);
	drv_end(&r.d);
}

/* --- state --- */

static void test_restore(void **state)
{
	static const char *const names[] = { NULL, "one", "two" };
	struct stream s = { 0 };
	struct err e = { 0 };
	struct vconsole *c;
	struct virtio *v;
	struct rig r;

	make(&r, 3, names);
	ports_up(&r, 0);
	control(&r, 1, EV_PORT_READY, 1);
	expect_control(&r, 1, EV_NAME, 1, "one", 3);
	expect_control(&r, 1, EV_OPEN, 1, NULL, 0);
	control(&r, 1, EV_OPEN, 1);
	give(&r, 4, 64);				/* a buffer that the device has taken */
	chardev_mem_stall(r.be[1], true);
	send_text(&r, 5, "half sent");			/* and one that is stuck */
	c = r.c;
	v = vconsole_virtio(c);
	assert_int_equal(v->queue[4].inflight + v->queue[5].inflight, 2);
	vconsole_class.pre_save(c);
	for (unsigned q = 0; q < 8; q++)
		assert_int_equal(v->queue[q].inflight, 0);
	dev_save(&vconsole_class, c, &s);

	/* The machine goes on as if nothing had been. */
	drv_pump(&r.d);
	assert_int_equal(v->queue[4].inflight + v->queue[5].inflight, 2);
	/* And the saved one, with the peer of port 1 gone meanwhile. */
	vconsole_class.pre_save(c);
	virtio_reset(v);
	chardev_event(r.be[1], CHARDEV_CLOSED);
	assert_int_equal(dev_load(&vconsole_class, c, &s, &e), 0);
	drv_pump(&r.d);
	expect_control(&r, 1, EV_OPEN, 0, NULL, 0);
	assert_true(drv_used(&r.d.q[5], NULL) >= 0);	/* nobody is there: dropped */
	chardev_mem_stall(r.be[1], false);
	chardev_event(r.be[1], CHARDEV_OPENED);
	assert_int_equal(chardev_mem_input(r.be[1], "again", 5, &e), 0);
	expect(&r, 4, "again");
	free(s.p);
	drv_end(&r.d);
}

static void test_new(void **state)
{
	struct vconsole_port port[17] = { { NULL, NULL } };
	struct err e = { 0 };
	struct vconsole *c;
	struct drv d;
	char name[65];

	drv_machine(&d);
	assert_int_equal(vconsole_new(&c, d.m, 17, port, &e), -EINVAL);
	memset(name, 'a', 64);
	name[64] = 0;
	port[0].name = name;
	assert_int_equal(vconsole_new(&c, d.m, 1, port, &e), -EINVAL);
	port[0].name = "";
	assert_int_equal(vconsole_new(&c, d.m, 1, port, &e), -EINVAL);
	name[63] = 0;
	port[0].name = name;
	assert_int_equal(vconsole_new(&c, d.m, 1, port, &e), 0);
	vconsole_class.free(c);
	drv_end(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large), cmocka_unit_test(test_plain), cmocka_unit_test(test_stuck), cmocka_unit_test(test_ports),
		cmocka_unit_test(test_told_once), cmocka_unit_test(test_restore), cmocka_unit_test(test_new),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

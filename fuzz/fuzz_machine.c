/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_machine.c - a whole lite machine with every device that can be plugged into it, attacked from
 * the guest's side: PCI configuration, registers of any width, rings with descriptors that point
 * anywhere (at each other, past the end of RAM, at the devices' own registers), requests that are
 * nearly sensible, resets in the middle; from the world's side: bytes, frames, connections, wishes of
 * the balloon; and from the stream's side: states with bytes changed are refused, or the machine that
 * took them goes on being attacked.
 *
 * FUZZ_COVERS=1: print the names of the device and virtio classes in that machine. tests/fuzzed sees
 * that no class of the sources is missing. One input is one operation. See fuzz.h for the rest. */
#include "fuzz.h"
#include "../tests/dev/devtest.h"
#include "base/bytes.h"
#include "base/trace.h"
#include "block/block.h"
#include "manage/agent/host.h"
#include "net/net.h"
#include "platform/lite/lite.h"
#include "virtio/balloon.h"
#include "virtio/pci.h"
#include "virtio/vsock.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {	/* Virtio 1.2, 4.1.4.3, and where pci.c puts the structures in BAR 4 */
	REG_COMMON = 0, REG_ISR = 0x1000, REG_DEVICE = 0x2000, REG_NOTIFY = 0x3000, REG_END = 0x4000,
	C_DFSELECT = 0, C_DF = 4, C_GFSELECT = 8, C_GF = 0xc, C_MSIX = 0x10, C_STATUS = 0x14,
	C_QSELECT = 0x16, C_QSIZE = 0x18, C_QVECTOR = 0x1a, C_QENABLE = 0x1c, C_QDESC = 0x20,
	C_QDRIVER = 0x28, C_QDEVICE = 0x30, C_QRESET = 0x3a,
};
#define BAR(slot) (0xe0000000u + (u32)(slot) * 0x20000u)
#define MSIX(slot) (BAR(slot) + 0x10000u)
#define RINGS(slot, q) (0x100000ull + (slot) * 0x20000u + (q) * 0x4000u)
#define HEAP 0x600000ull
#define HEAP_LEN 0x200000u
#define SLOTS 12
#define QUEUES 8		/* of a device that are set up */

struct fmachine {
	struct lite *l;
	struct machine *m;
	struct chardev *serial[LITE_SERIALS], *port[3];
	struct balloon *balloon;
	struct vsock *vsock;
	struct net net;			/* a cable whose other end is this file */
	unsigned slot[SLOTS], nslots, nqueues[SLOTS];
	u16 size[SLOTS][QUEUES], avail[SLOTS][QUEUES];
	bool packed[SLOTS];
	bool dead;			/* a state was half loaded */
	u64 s;				/* random state */
};

static u64 rnd(struct fmachine *f) { return fuzz_rnd(&f->s); }
static u64 upto(struct fmachine *f, u64 n) { return fuzz_rnd(&f->s) % n; }

static void must(int r, const struct err *e)
{
	if (r) {
		fprintf(stderr, "fuzz_machine: %s\n", e->msg);
		abort();
	}
}

/* --- the machine, and the world around it --- */

static bool wire_send(struct net *n, const struct net_frame *fr) { return (fr->len & 7) != 7; }
static void wire_free(struct net *n) { }
static const struct net_ops wire_ops = { .name = "fuzz", .send = wire_send, .free = wire_free };

static int open_serial(void *ctx, unsigned n, struct loop *l, struct chardev **be, struct err *e)
{
	struct fmachine *f = ctx;
	int r = chardev_mem_new(&f->serial[n], 4096, e);

	*be = f->serial[n];
	return r;
}

static void add_disk(struct fmachine *f, const char *name, bool readonly)
{
	struct block_options o = { .format = "raw", .aio = "threads", .discard = true,
				   .readonly = readonly };
	struct lite_disk d = { .name = name, .serial = "fuzz", .queues = 2 };
	int fd = memfd_create(name, MFD_CLOEXEC);
	struct err e = { 0 };
	char path[40];

	if (fd < 0 || ftruncate(fd, 4 << 20))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must(block_open(&d.block, f->m->loop, path, &o, &e), &e);
	close(fd);
	must(lite_add_disk(f->l, &d, &e), &e);
}

static void add_vsock(struct fmachine *f)
{
	struct lite_vsock v = { .name = "vsock", .cid = 3, .host_dir_fd = -1 };
	struct sockaddr_un a = { .sun_family = AF_UNIX };	/* autobind: an abstract name */
	struct err e = { 0 };

	v.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (v.listen_fd < 0 || bind(v.listen_fd, (struct sockaddr *)&a, sizeof(a.sun_family)) ||
	    listen(v.listen_fd, 8))
		abort();
	must(lite_add_vsock(f->l, &v, &f->vsock, &e), &e);
}

/* A folder that goes with the process, whatever the guest makes in it. */
static int remove_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
	return remove(path);
}
static char share_dir[] = "/tmp/fuzz-machine.XXXXXX";
static void remove_share(void) { nftw(share_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static void add_share(struct fmachine *f)
{
	struct lite_share s = { .name = "share0", .tag = "fuzz" };
	struct err e = { 0 };

	if (strchr(share_dir, 'X')) {
		if (!mkdtemp(share_dir))
			abort();
		atexit(remove_share);
	}
	s.dir_fd = open(share_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(lite_add_share(f->l, &s, &e), &e);
}

static void find_devices(struct fmachine *f);

static struct fmachine *fm_new(void)
{
	struct fmachine *f = calloc(1, sizeof(*f));
	struct lite_config cfg = {
		.machine = { .ram_size = 16 * MiB, .ncpus = 2, .cpu_model = cpu_model_find("base") },
		.boot = { .kernel = BLOB_NONE, .initrd = BLOB_NONE, .firmware = BLOB_NONE },
		.open_serial = open_serial, .ctx = f,
	};
	struct lite_console con = { .name = "console", .nports = 3 };
	struct lite_net net = { .name = "net0", .net = &f->net, .mac = { 2, 0, 0, 0, 0, 1 },
				.queues = 2, .mtu = 1500 };
	struct agent_host *agent;
	struct lite_net unplugged = { .name = "net1", .mac = { 2, 0, 0, 0, 0, 2 }, .queues = 1 };
	struct err e = { 0 };

	must(lite_new(&f->l, &cfg, &e), &e);
	f->m = lite_machine(f->l);
	add_disk(f, "disk0", false);
	add_disk(f, "disk1", true);
	f->net = (struct net){ .ops = &wire_ops, .up = true,
			       .caps = NET_CAP_CSUM | NET_CAP_TSO4 | NET_CAP_TSO6 };
	must(lite_add_net(f->l, &net, &e), &e);
	must(lite_add_net(f->l, &unplugged, &e), &e);
	for (unsigned i = 0; i < 3; i++) {
		must(chardev_mem_new(&f->port[i], 4096, &e), &e);
		con.port[i].be = f->port[i];
		con.port[i].name = i ? "org.penta.fuzz" : NULL;
	}
	must(lite_add_console(f->l, &con, &e), &e);
	must(lite_add_balloon(f->l, "balloon", 0, &f->balloon, &e), &e);
	add_vsock(f);
	add_share(f);
	must(agent_host_new(&agent, f->m, f->vsock, &e), &e);
	must(machine_add_device(f->m, &agent_host_class, agent, "agent", &e), &e);
	find_devices(f);
	return f;
}

static void quit(void *l) { loop_quit(l); }

/* Let what was posted happen, and disks end what they do. */
static void pump(struct fmachine *f)
{
	for (unsigned i = 0; i < 2; i++) {
		loop_post(f->m->loop, quit, f->m->loop);
		loop_run(f->m->loop);
	}
}

static void fm_free(struct fmachine *f)
{
	if (!f->dead)
		pump(f);
	lite_free(f->l);
	free(f);
}

/* --- registers, as a guest reaches them --- */

static void mmio(struct fmachine *f, u64 at, u64 val, unsigned len)
{
	bus_write(f->m->mmio, f->m->cpu[0], at, val, len);
}

static u64 mmio_in(struct fmachine *f, u64 at, unsigned len)
{
	return bus_read(f->m->mmio, f->m->cpu[0], at, len);
}

static void config(struct fmachine *f, unsigned slot, unsigned off, u32 val, unsigned len)
{
	bus_write(f->m->ports, f->m->cpu[0], 0xcf8, 0x80000000u | slot << 11 | (off & 0xfc), 4);
	bus_write(f->m->ports, f->m->cpu[0], 0xcfc + (off & 3), val, len);
}

static u32 config_in(struct fmachine *f, unsigned slot, unsigned off, unsigned len)
{
	bus_write(f->m->ports, f->m->cpu[0], 0xcf8, 0x80000000u | slot << 11 | (off & 0xfc), 4);
	return (u32)bus_read(f->m->ports, f->m->cpu[0], 0xcfc + (off & 3), len);
}

static void enable_pci(struct fmachine *f, unsigned slot)
{
	config(f, slot, 4, 0, 2);
	config(f, slot, 0x14, MSIX(slot), 4);	/* BAR 1 */
	config(f, slot, 0x20, BAR(slot), 4);	/* BAR 4, 64 bits wide or not */
	config(f, slot, 0x24, 0, 4);
	config(f, slot, 4, 6, 2);		/* memory, bus mastering */
}

static void find_devices(struct fmachine *f)
{
	machine_lock(f->m);
	for (unsigned slot = 1; slot < 32 && f->nslots < SLOTS; slot++) {
		if ((config_in(f, slot, 0, 4) & 0xffff) != 0x1af4)
			continue;
		enable_pci(f, slot);
		f->nqueues[f->nslots] = (unsigned)mmio_in(f, BAR(slot) + 0x12, 2);
		f->slot[f->nslots++] = slot;
	}
	machine_unlock(f->m);
	if (f->nslots < 7)
		abort();	/* the layout has changed: this fuzzer would drive nothing */
}

/* --- guest memory --- */

static u64 any_gpa(struct fmachine *f, unsigned d)
{
	switch (upto(f, 24)) {
	case 0: return BAR(f->slot[d]) + upto(f, REG_END);	/* its own registers */
	case 1: return ram_size(f->m->ram) - upto(f, 64);
	case 2: return 0xfee00000u + upto(f, 0x400);
	case 3: return rnd(f);
	case 4: return UINT64_MAX - upto(f, 4096);
	case 5: return RINGS(f->slot[d], upto(f, QUEUES)) + upto(f, 0x4000);
	case 6: return upto(f, 4096);
	default: return HEAP + upto(f, HEAP_LEN / 64) * 64;
	}
}

static u32 any_len(struct fmachine *f)
{
	static const u32 usual[] = { 0, 1, 4, 8, 10, 12, 16, 24, 44, 64, 512, 513, 1514, 4096, 65536, 70000 };

	return upto(f, 16) ? usual[upto(f, ARRAY_SIZE(usual))] : (u32)rnd(f);
}

/* Something like a request's head: small numbers where types and ids stand. */
static void fill_heap(struct fmachine *f, u64 gpa)
{
	u8 b[64];

	for (unsigned i = 0; i < sizeof(b); i += 4)
		put_le32(b + i, upto(f, 3) ? (u32)upto(f, 20) : (u32)rnd(f));
	if (upto(f, 2)) {		/* vsock: two CIDs and two ports, then length, type and operation */
		put_le64(b, 3);
		put_le64(b + 8, 2);
		put_le32(b + 24, (u32)upto(f, 64));
		put_le16(b + 28, 1);
		put_le16(b + 30, (u16)upto(f, 8));
	}
	ram_write(f->m->ram, gpa, b, sizeof(b));
}

static void put_desc(struct fmachine *f, u64 at, u64 gpa, u32 len, u16 c, u16 d)
{
	u8 b[16];

	put_le64(b, gpa);
	put_le32(b + 8, len);
	put_le16(b + 12, c);
	put_le16(b + 14, d);
	ram_write(f->m->ram, at, b, sizeof(b));
}

/* A chain of descriptors from @i on: mostly readable ones and then writable ones, of sensible sizes. */
static void put_chain(struct fmachine *f, unsigned d, unsigned q, unsigned i)
{
	unsigned size = f->size[d][q] ? f->size[d][q] : 1, n = 1 + (unsigned)upto(f, 4);
	u64 table = RINGS(f->slot[d], q);
	bool writing = upto(f, 2);

	for (unsigned k = 0; k < n; k++, i = (i + 1) % size) {
		u64 gpa = any_gpa(f, d);
		u16 flags = (u16)((k + 1 < n) | (writing ? 2 : 0));

		if (gpa >= HEAP && gpa < HEAP + HEAP_LEN)
			fill_heap(f, gpa);
		if (!upto(f, 12))
			flags |= 4;			/* indirect */
		if (!upto(f, 24))
			flags = (u16)rnd(f);
		if (f->packed[d]) {
			u16 wrap = f->avail[d][q] / size % 2 ? 0x8000 : 0x80;

			put_desc(f, table + 16ull * i, gpa, any_len(f), (u16)upto(f, size),
				 (u16)(flags | (upto(f, 16) ? wrap : (rnd(f) & 0x8080))));
		} else {
			put_desc(f, table + 16ull * i, gpa, any_len(f), flags,
				 upto(f, 20) ? (u16)((i + 1) % size) : (u16)rnd(f));
		}
		writing |= !upto(f, 2);
	}
}

static void offer(struct fmachine *f, unsigned d, unsigned q)
{
	unsigned size = f->size[d][q] ? f->size[d][q] : 1, head = (unsigned)upto(f, size);
	u64 avail = RINGS(f->slot[d], q) + 0x2000;
	u8 b[2];

	if (f->packed[d])
		head = f->avail[d][q] % size;
	put_chain(f, d, q, head);
	put_le16(b, upto(f, 40) ? (u16)head : (u16)rnd(f));
	ram_write(f->m->ram, avail + 4 + 2ull * (f->avail[d][q] % size), b, 2);
	f->avail[d][q] = (u16)(f->avail[d][q] + (upto(f, 60) ? 1 : rnd(f)));
	if (!f->packed[d]) {
		put_le16(b, f->avail[d][q]);
		ram_write(f->m->ram, avail + 2, b, 2);
	}
}

/* --- what a driver does --- */

static void set_up_queue(struct fmachine *f, unsigned d, unsigned q)
{
	u64 bar = BAR(f->slot[d]), ring = RINGS(f->slot[d], q);
	static const u8 zero[0x4000];
	u16 size;

	ram_write(f->m->ram, ring, zero, sizeof(zero));
	mmio(f, bar + C_QSELECT, q, 2);
	size = (u16)mmio_in(f, bar + C_QSIZE, 2);
	size = (u16)MIN(MAX(size, 1), 256);
	size = (u16)MAX(size >> upto(f, 7), 1);
	if (!upto(f, 30))
		size = (u16)rnd(f);
	mmio(f, bar + C_QSIZE, size, 2);
	f->size[d][q] = (u16)MIN(MAX(size, 1), 256);
	f->avail[d][q] = 0;
	mmio(f, bar + C_QVECTOR, upto(f, 4) ? q : rnd(f), 2);
	mmio(f, bar + C_QDESC, upto(f, 30) ? ring : any_gpa(f, d), 8);
	mmio(f, bar + C_QDRIVER, upto(f, 30) ? ring + 0x2000 : any_gpa(f, d), 8);
	mmio(f, bar + C_QDEVICE, upto(f, 30) ? ring + 0x3000 : any_gpa(f, d), 8);
	mmio(f, bar + C_QENABLE, 1, 2);
}

static void set_up(struct fmachine *f, unsigned d)
{
	u64 bar = BAR(f->slot[d]), features;

	enable_pci(f, f->slot[d]);
	mmio(f, bar + C_STATUS, 0, 1);
	machine_unlock(f->m);
	pump(f);
	machine_lock(f->m);
	mmio(f, bar + C_STATUS, 1, 1);
	mmio(f, bar + C_STATUS, 3, 1);
	mmio(f, bar + C_DFSELECT, 0, 4);
	features = mmio_in(f, bar + C_DF, 4);
	mmio(f, bar + C_DFSELECT, 1, 4);
	features |= mmio_in(f, bar + C_DF, 4) << 32;
	features &= (upto(f, 3) ? UINT64_MAX : rnd(f)) | VIRTIO_F_VERSION_1;
	if (upto(f, 2))
		features &= ~VIRTIO_F_RING_PACKED;
	if (!upto(f, 40))
		features = rnd(f);
	f->packed[d] = features & VIRTIO_F_RING_PACKED;
	mmio(f, bar + C_GFSELECT, 0, 4);
	mmio(f, bar + C_GF, (u32)features, 4);
	mmio(f, bar + C_GFSELECT, 1, 4);
	mmio(f, bar + C_GF, features >> 32, 4);
	mmio(f, bar + C_STATUS, 11, 1);
	if (upto(f, 2))		/* MSI-X on */
		config(f, f->slot[d], 0x40 + 2, 0x8000, 2);
	for (unsigned q = 0; q < MIN(f->nqueues[d], (unsigned)QUEUES); q++)
		if (upto(f, 16))
			set_up_queue(f, d, q);
	mmio(f, bar + C_STATUS, 15, 1);
}

static void kick(struct fmachine *f, unsigned d, unsigned q)
{
	mmio(f, BAR(f->slot[d]) + REG_NOTIFY + 4u * q, q, 2);
}

static void poke(struct fmachine *f, unsigned d)
{
	static const u8 lens[] = { 1, 2, 4, 8 };
	static const u16 base[] = { REG_COMMON, REG_COMMON, REG_ISR, REG_DEVICE, REG_DEVICE, REG_NOTIFY };
	u64 at = BAR(f->slot[d]) + base[upto(f, ARRAY_SIZE(base))] + upto(f, 0x60);
	unsigned len = lens[upto(f, 4)];

	if (!upto(f, 8))
		at = MSIX(f->slot[d]) + upto(f, 0x1000);
	if (upto(f, 2))
		mmio(f, at, upto(f, 2) ? rnd(f) : upto(f, 16), len);
	else
		mmio_in(f, at, len);
}

static void poke_config(struct fmachine *f, unsigned d)
{
	static const u8 lens[] = { 1, 2, 4 };
	unsigned len = lens[upto(f, 3)], off = (unsigned)upto(f, 256 / len) * len;

	if (upto(f, 2))
		config(f, f->slot[d], off, (u32)rnd(f), len);
	else
		config_in(f, f->slot[d], off, len);
}

/* --- what the world does --- */

static void world(struct fmachine *f)
{
	u8 buf[2048];
	struct iovec iov = { buf, 14 + upto(f, 1500) };
	struct net_frame fr = { .iov = &iov, .niov = 1, .len = iov.iov_len };
	struct err e = { 0 };
	unsigned n;

	memset(buf, (int)rnd(f), sizeof(buf));
	switch (upto(f, 8)) {
	case 0: case 1:
		net_recv(&f->net, &fr);
		break;
	case 2:
		n = (unsigned)upto(f, 3);
		chardev_mem_input(f->port[n], buf, MIN(upto(f, 64), chardev_room(f->port[n])), NULL);
		break;
	case 3:
		n = (unsigned)upto(f, 3);
		chardev_event(f->port[n], upto(f, 2) ? CHARDEV_OPENED : CHARDEV_CLOSED);
		break;
	case 4:
		balloon_set_size(f->balloon, upto(f, 40 * MiB), &e);
		break;
	case 5:
		chardev_mem_stall(f->port[upto(f, 3)], upto(f, 2));
		break;
	case 6:
		net_room_now(&f->net);
		if (f->net.front && f->net.front->can_send)
			f->net.front->can_send(f->net.dev);
		break;
	default:
		clock_advance(f->m->clock, clock_now(f->m->clock) + upto(f, 3000000000u));
	}
}

/* --- states --- */

static int quiesce_one(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	if (cls->quiesce)
		cls->quiesce(dev);
	return 0;
}

struct nth { unsigned want, at; const struct device_class *cls; void *dev; };
static int nth_device(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	struct nth *n = ctx;

	if (!cls->state || n->at++ != n->want)
		return 0;
	n->cls = cls;
	n->dev = dev;
	return 1;
}

/* The state of one device, with some bytes changed, into the same device: refused, or it lives on. */
static void mutate(struct fmachine *f)
{
	struct nth n = { .want = (unsigned)upto(f, 40) };
	struct stream s = { 0 };
	struct err e = { 0 };

	machine_each_device(f->m, quiesce_one, NULL);
	if (!machine_each_device(f->m, nth_device, &n))
		return;
	dev_save(n.cls, n.dev, &s);
	for (u64 k = upto(f, 4); s.n && k > 0; k--)
		s.p[upto(f, s.n)] ^= (u8)(1u << upto(f, 8));
	/* What fields_check() refuses has changed nothing. What post_load refuses is a machine that never
	 * runs: all that can be done with it is to free it. */
	if (!fields_check(n.cls->state, n.cls->version, n.dev, s.p, s.n, n.cls->name, &e) &&
	    dev_load(n.cls, n.dev, &s, &e))
		f->dead = true;
	free(s.p);
}

/* --- rounds --- */

static void operation(struct fmachine *f)
{
	unsigned d = (unsigned)upto(f, f->nslots);
	unsigned q = (unsigned)upto(f, MIN(MAX(f->nqueues[d], 1u), (unsigned)QUEUES));

	switch (upto(f, 32)) {
	case 0: set_up(f, d); break;
	case 1: case 2: case 3: poke(f, d); break;
	case 4: poke_config(f, d); break;
	case 5: case 6: case 7: case 8: world(f); break;
	case 9:
		mmio(f, BAR(f->slot[d]) + C_QSELECT, q, 2);
		mmio(f, BAR(f->slot[d]) + C_QRESET, 1, 2);
		break;
	case 10:
		if (!upto(f, 8))
			mutate(f);
		break;
	case 11:
		bus_write(f->m->ports, f->m->cpu[0], 0x3f8 + upto(f, 8), rnd(f), 1);
		break;
	case 12: case 13: case 14: case 15: case 16:
		kick(f, d, q);
		break;
	default:
		offer(f, d, q);
	}
}

#define OPS 400u

static void fuzz_round(struct fmachine *f, u64 seed)
{
	f->s = seed * 0x9e3779b97f4a7c15ull | 1;
	machine_lock(f->m);
	for (unsigned d = 0; d < f->nslots; d++)
		set_up(f, d);
	for (unsigned i = 0; i < OPS && !f->dead; i++) {
		operation(f);
		if (i % 16 == 15 && !f->dead) {
			machine_unlock(f->m);
			pump(f);
			machine_lock(f->m);
			for (unsigned c = 0; c < f->m->ncpus; c++)
				take_requests(f->m->cpu[c]);
		}
	}
	machine_unlock(f->m);
}

static int print_class(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	printf("%s\n", cls->name);
	return 0;
}

int main(int argc, char **argv)
{
	struct fuzz z = fuzz_begin(argc, argv, "fuzz_machine");
	struct fmachine *f = fm_new();
	u64 last = 0;

	log_set_level((enum log_level)-1);
	if (fuzz_covers()) {
		machine_each_device(f->m, print_class, NULL);
		fm_free(f);
		return 0;
	}
	while (fuzz_more(&z, last)) {
		if (z.rounds % 64 == 0 || f->dead) {
			fm_free(f);
			f = fm_new();
		}
		fuzz_round(f, z.seed);
		last = OPS;
	}
	fm_free(f);
	return fuzz_end(&z);
}

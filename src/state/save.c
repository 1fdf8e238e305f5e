/* SPDX-License-Identifier: GPL-2.0-or-later */
/* save.c - from a paused machine to a stream. See state.h and docs/state.md.
 *
 * Capturing brings everything but memory into our own memory; that takes a millisecond. Memory is
 * then written while the machine stands, or, when it is live, frozen first: the file that was its
 * memory stays what it is, and the guest goes on with private copies of what it writes. */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "state/image.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct piece {			/* a section that is ready to be written */
	struct section h;
	struct buf b;
};

struct state_image {
	struct machine *m;
	struct shape shape;
	char *config;
	struct piece *piece;
	unsigned npieces;

	u8 *used;		/* by page: may hold something */
	/* Where memory is: at first the machine's own, or frozen: */
	bool live;
	int base_fd, delta_fd;	/* base is the machine's; delta is ours, or -1 */
	u8 *base_view, *delta_view;	/* our own mappings, or NULL */
	u8 *in_delta;		/* by page */
};

static const struct state_field rom_fields[] = {
	STATE_U64(struct shape_rom, gpa),
	STATE_U64(struct shape_rom, len),
	STATE_U32(struct shape_rom, crc, 0, UINT32_MAX),
	STATE_END
};

#define S struct shape
const struct state_field shape_fields[] = {
	STATE_BYTES(S, penta),
	STATE_BYTES(S, name),
	STATE_BYTES(S, engine),
	STATE_BYTES(S, cpu_model),
	STATE_BYTES(S, platform),
	STATE_U32(S, board, 0, UINT32_MAX),
	STATE_S64(S, saved_ns),
	STATE_F_(S, ram_size, ST_U64, 1, 8, 1 * MiB, 1024 * GiB, NULL),
	STATE_U32(S, ncpus, 1, MACHINE_CPUS_MAX),
	STATE_BOOL(S, paused),
	STATE_BOOL(S, has_ram),
	STATE_BOOL(S, a20),
	STATE_F_(S, clock_ns, ST_U64, 1, 8, 0, INT64_MAX, NULL),
	STATE_F_(S, tsc_khz, ST_U64, 1, 8, 1, 1000000000, NULL),
	STATE_U32_ARRAY(S, features, 0, UINT32_MAX),
	STATE_U32(S, nroms, 0, SHAPE_ROMS),
	STATE_STRUCT_ARRAY(S, rom, rom_fields),
	STATE_END
};
#undef S

const struct state_field vcpu_saved_fields[] = {
	STATE_U32(struct vcpu_saved, apic_id, 0, UINT32_MAX),
	STATE_U32(struct vcpu_saved, requests, 0, 0x1ff),
	STATE_STRUCT(struct vcpu_saved, cpu, cpu_state_fields),
	STATE_END
};

static void put_name(u8 *to, size_t room, const char *s)
{
	memset(to, 0, room);
	if (s)
		memcpy(to, s, MIN(strlen(s), room - 1));
}

void shape_of(struct shape *s, struct machine *m)
{
	memset(s, 0, sizeof(*s));
	put_name(s->engine, sizeof(s->engine), m->cfg.engine ? m->cfg.engine->name : NULL);
	put_name(s->cpu_model, sizeof(s->cpu_model), m->cfg.cpu_model ? m->cfg.cpu_model->name : NULL);
	put_name(s->platform, sizeof(s->platform), m->platform);
	s->board = m->board;
	s->ram_size = ram_size(m->ram);
	s->ncpus = m->ncpus;
	s->a20 = m->a20;
	s->clock_ns = clock_now(m->clock);
	s->tsc_khz = clock_tsc_khz(m->clock);
	_Static_assert((int)FW_N <= SHAPE_FEATURE_WORDS, "feature words");
	if (m->cpuid)
		cpuid_get_features(m->cpuid, s->features);
	for (unsigned i = 0; i < ram_nblocks(m->ram); i++) {
		const struct ram_block *b = ram_block(m->ram, i);

		if (b->readonly)
			s->rom[s->nroms++] = (struct shape_rom){ b->gpa, b->len,
								 crc32c(0, b->hva, b->len) };
	}
}

/* --- capture; the machine is paused and quiesced, its lock held --- */

static struct piece *new_piece(struct state_image *img, struct err *e)
{
	struct piece *p = realloc(img->piece, (img->npieces + 1) * sizeof(*p));

	if (!p) {
		err_set(e, ENOMEM, "state: out of memory");
		return NULL;
	}
	img->piece = p;
	p += img->npieces++;
	memset(p, 0, sizeof(*p));
	return p;
}

static int capture_vcpu(struct state_image *img, struct vcpu *v, struct err *e)
{
	struct vcpu_saved *s = calloc(1, sizeof(*s));
	struct piece *p = s ? new_piece(img, e) : NULL;
	char name[16];
	int r = p ? 0 : err_set(e, ENOMEM, "state: out of memory");

	if (r) {
		free(s);
		return r;
	}
	snprintf(name, sizeof(name), "cpu%u", v->index);
	cpu_state_reset(&s->cpu);
	if (img->m->cfg.engine)
		r = img->m->cfg.engine->get_state(v, &s->cpu, e);
	s->apic_id = v->apic_id;
	s->requests = atomic_load(&v->requests) & VCPU_SAVED_REQUESTS;
	if (!r)
		r = state_check(vcpu_saved_fields, s, name, e);
	p->h = (struct section){ .kind = SECTION_VCPU, .version = VCPU_VERSION, .arg = v->index };
	memcpy(p->h.name, name, sizeof(name));
	if (!r)
		fields_save(vcpu_saved_fields, s, &p->b);
	free(s);
	return r;
}

struct capture { struct state_image *img; struct err *e; };

static int pre_save(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	if (cls->pre_save)
		cls->pre_save(dev);
	return 0;
}

static int capture_device(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	struct capture *c = ctx;
	struct piece *p;
	int r;

	if (!cls->state)
		return 0;
	r = state_check(cls->state, dev, path, c->e);
	if (r)
		return r;
	p = new_piece(c->img, c->e);
	if (!p)
		return -ENOMEM;
	p->h = (struct section){ .kind = SECTION_DEVICE, .version = cls->version };
	snprintf(p->h.name, sizeof(p->h.name), "%s=%s", path, cls->name);
	fields_save(cls->state, dev, &p->b);
	return 0;
}

/* Memory as it is now stays to be read, whatever the guest does from now on. */
static int freeze(struct state_image *img, struct err *e)
{
	struct ram *ram = img->m->ram;
	u64 size = ram_size(ram), n = size >> PAGE_SHIFT;
	void *view;
	int r;

	img->in_delta = calloc(1, n);
	if (!img->in_delta)
		return err_set(e, ENOMEM, "state: out of memory");
	for (unsigned i = 0; ram_is_private(ram) && i < ram_nblocks(ram); i++) {
		const struct ram_block *b = ram_block(ram, i);

		for (u64 k = 0; !b->readonly && k < b->len >> PAGE_SHIFT; k++)
			img->in_delta[(b->file_off >> PAGE_SHIFT) + k] =
				b->pageflags[k] & RAM_PAGE_DIRTY;
	}
	r = ram_freeze(ram, &img->delta_fd, e);
	if (r)
		return r;
	img->live = true;
	img->base_fd = ram_fd(ram);
	if (img->m->cfg.engine)
		img->m->cfg.engine->dirty_sync(img->m);
	view = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, img->base_fd, 0);
	if (view == MAP_FAILED)
		return err_errno(e, "state: a view of memory");
	img->base_view = view;
	if (img->delta_fd < 0)
		return 0;
	view = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, img->delta_fd, 0);
	if (view == MAP_FAILED)
		return err_errno(e, "state: a view of memory");
	img->delta_view = view;
	return 0;
}

int state_capture(struct state_image **out, struct machine *m,
		  const struct state_capture_options *o, struct err *e)
{
	struct state_image *img = NULL;
	struct capture c = { .e = e };
	struct timespec ts;
	int r = state_complete(m, e);

	if (!r)
		r = machine_quiesce(m, e);
	if (r)
		return r;
	img = calloc(1, sizeof(*img));
	if (img && o->config)
		img->config = strdup(o->config);
	if (!img || (o->config && !img->config)) {
		free(img);
		return err_set(e, ENOMEM, "state: out of memory");
	}
	img->m = m;
	img->delta_fd = img->base_fd = -1;
	c.img = img;
	machine_lock(m);
	machine_each_device(m, pre_save, NULL);
	shape_of(&img->shape, m);
	put_name(img->shape.penta, sizeof(img->shape.penta), o->penta);
	put_name(img->shape.name, sizeof(img->shape.name), o->name);
	clock_gettime(CLOCK_REALTIME, &ts);
	img->shape.saved_ns = (s64)ts.tv_sec * 1000000000 + ts.tv_nsec;
	img->shape.paused = o->paused;
	for (unsigned i = 0; i < m->ncpus && !r; i++)
		r = capture_vcpu(img, m->cpu[i], e);
	if (!r)
		r = machine_each_device(m, capture_device, &c);
	for (unsigned i = 0; i < img->npieces && !r; i++)
		if (img->piece[i].b.failed)
			r = err_set(e, ENOMEM, "state: out of memory");
	if (!r)
		r = ram_used_pages(m->ram, &img->used, e);
	if (!r && o->live)
		r = freeze(img, e);
	machine_unlock(m);
	if (r)
		state_image_free(img);
	else
		*out = img;
	return r;
}

int state_image_memory(struct state_image *img, int *base_fd, int *delta_fd, struct err *e)
{
	BUG_ON(!img->live);
	*base_fd = img->base_fd;
	*delta_fd = img->delta_fd;
	return ram_seal(img->m->ram, e);
}

/* Memory that was frozen for this image alone is shared again. What the guest has written since is
 * copied meanwhile. */
static void thaw(struct state_image *img)
{
	struct machine *m = img->m;
	bool running = atomic_load(&m->status) == MACHINE_RUNNING;
	struct err e = { 0 };

	machine_still(m);
	if (atomic_load(&m->status) == MACHINE_PAUSED && machine_quiesce(m, NULL) == 0) {
		machine_lock(m);
		ram_thaw(m->ram, &e);	/* failing that, it stays private: dearer, not wrong */
		machine_unlock(m);
	}
	machine_unstill(m, running);
}

void state_image_free(struct state_image *img)
{
	if (!img)
		return;
	if (img->base_view)
		munmap(img->base_view, img->shape.ram_size);
	if (img->delta_view)
		munmap(img->delta_view, img->shape.ram_size);
	if (img->live)
		thaw(img);
	if (img->delta_fd >= 0)
		close(img->delta_fd);
	for (unsigned i = 0; i < img->npieces; i++)
		buf_free(&img->piece[i].b);
	free(img->piece);
	free(img->in_delta);
	free(img->used);
	free(img->config);
	free(img);
}

/* --- write --- */

static const u8 *page_of(const struct state_image *img, u64 page)
{
	u64 off = page << PAGE_SHIFT;

	if (!img->live)
		return ram_bytes(img->m->ram) + off;
	return (img->in_delta[page] ? img->delta_view : img->base_view) + off;
}

static bool is_zero(const u8 *p)
{
	u64 v;

	memcpy(&v, p, 8);
	return v == 0 && memcmp(p, p + 8, PAGE_SIZE - 8) == 0;
}

static int write_ram(struct state_image *img, struct stream_out *o, state_progress_fn *progress,
		     void *ctx, struct err *e)
{
	u64 n = img->shape.ram_size >> PAGE_SHIFT, total = 0, done = 0;
	struct buf index = { 0 };
	u8 *cluster = malloc(CLUSTER_LEN);
	int r = cluster ? 0 : err_set(e, ENOMEM, "state: out of memory");

	for (u64 p = 0; p < n; p++)
		total += img->used[p] ? PAGE_SIZE : 0;
	for (u64 first = 0; first < n && !r; first += CLUSTER_PAGES) {
		struct section h = { .kind = SECTION_RAM, .version = RAM_VERSION, .arg = first };
		u8 entry[ENTRY_LEN];
		u64 len = 0, at = 0, was = done;

		for (u64 p = first; p < MIN(first + CLUSTER_PAGES, n); p++) {
			if (!img->used[p])
				continue;
			done += PAGE_SIZE;
			guest_copy(cluster + len, page_of(img, p), PAGE_SIZE);
			if (is_zero(cluster + len))
				continue;
			len += PAGE_SIZE;
			h.bits |= 1u << (p - first);
		}
		if (len) {
			r = stream_put(o, &h, cluster, len, true, &at, e);
			put_le64(entry, first);
			put_le64(entry + 8, at);
			put_le32(entry + 16, h.bits);
			put_le32(entry + 20, (u32)(o->off - at - SECTION_HEADER_LEN));
			buf_put(&index, entry, sizeof(entry));
		}
		if (!r && progress && done / (4 * MiB) != was / (4 * MiB) && progress(ctx, done, total))
			r = err_set(e, ECANCELED, "given up");
	}
	if (!r && index.failed)
		r = err_set(e, ENOMEM, "state: out of memory");
	if (!r) {
		const struct section h = { .kind = SECTION_INDEX, .version = INDEX_VERSION };

		r = stream_put(o, &h, index.p, index.len, true, &o->index_at, e);
	}
	buf_free(&index);
	free(cluster);
	return r;
}

int state_write(struct state_image *img, int fd, bool with_ram, state_progress_fn *progress,
		void *ctx, struct err *e)
{
	struct section h = { .kind = SECTION_MACHINE, .version = SHAPE_VERSION };
	struct stream_out o;
	struct buf b = { 0 };
	int r = stream_out_begin(&o, fd, e);

	img->shape.has_ram = with_ram;
	fields_save(shape_fields, &img->shape, &b);
	if (!r)
		r = b.failed ? err_set(e, ENOMEM, "state: out of memory") :
		    stream_put(&o, &h, b.p, b.len, true, NULL, e);
	buf_free(&b);
	h = (struct section){ .kind = SECTION_CONFIG, .version = 1 };
	if (!r && img->config)
		r = stream_put(&o, &h, img->config, strlen(img->config), true, NULL, e);
	for (unsigned i = 0; i < img->npieces && !r; i++)
		r = stream_put(&o, &img->piece[i].h, img->piece[i].b.p, img->piece[i].b.len, true,
			       NULL, e);
	if (!r && with_ram)
		r = write_ram(img, &o, progress, ctx, e);
	if (!r)
		r = stream_out_end(&o, e);
	stream_out_free(&o);
	return r;
}

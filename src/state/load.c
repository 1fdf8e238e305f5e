/* SPDX-License-Identifier: GPL-2.0-or-later */
/* load.c - from a stream to a machine that has not started. See state.h and docs/state.md.
 *
 * First all sections but memory are read and their checksums looked at (state_open); then all fields
 * are held against the machine's tables, with nothing changed; then they are put in. A stream that is
 * not of this machine, or damaged, or cut short, has then changed nothing. Memory comes last:
 * in the order of the stream, or page by page while the guest runs (lazy.c). */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/trace.h"		// log_msg
#include "state/image.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VCPU_MAX (1 * MiB)

struct loaded {			/* a section that was read */
	struct section h;
	u8 *p;
	bool used;
};

struct state_stream {
	struct stream_in in;
	char *name;
	struct shape shape;
	struct state_info info;
	char *config;
	struct loaded *sec;		/* vCPUs and devices */
	unsigned nsec;
	u64 total;			/* bytes of all those */
	struct section next;		/* the first that is none of them: its payload is to be read */
	struct ram_entry *index;	/* when it seeks and has memory */
	u64 nindex;
};

/* --- open --- */

static int load_shape(struct state_stream *s, const struct section *h, struct err *e)
{
	struct shape *sh = &s->shape;
	u8 *p;
	int r;

	if (h->kind != SECTION_MACHINE || h->name[0])
		return err_set(e, EBADMSG, "%s does not begin with what machine it is of", s->name);
	if (h->version > SHAPE_VERSION)
		return err_set(e, ENOTSUP, "%s was saved by a newer penta", s->name);
	r = stream_payload(&s->in, h, DEVICE_MAX, &p, e);
	if (r)
		return r;
	r = fields_check(shape_fields, h->version, sh, p, h->raw, "machine", e);
	if (!r)
		r = fields_load(shape_fields, sh, p, h->raw, e);
	free(p);
	if (r)
		return err_context(e, "%s", s->name);
	if (sh->ram_size % PAGE_SIZE)
		return err_set(e, EINVAL, "%s: machine.ram_size is no multiple of a page", s->name);
	s->info = (struct state_info){ .saved_ns = sh->saved_ns, .ram_size = sh->ram_size,
				       .ncpus = sh->ncpus, .paused = sh->paused,
				       .has_ram = sh->has_ram };
	memcpy(s->info.penta, sh->penta, sizeof(sh->penta) - 1);
	memcpy(s->info.name, sh->name, sizeof(sh->name) - 1);
	memcpy(s->info.platform, sh->platform, sizeof(sh->platform) - 1);
	s->info.board = sh->board;
	memcpy(s->info.engine, sh->engine, sizeof(sh->engine) - 1);
	memcpy(s->info.cpu_model, sh->cpu_model, sizeof(sh->cpu_model) - 1);
	return 0;
}

static int load_section(struct state_stream *s, const struct section *h, struct err *e)
{
	struct loaded *l;

	for (unsigned i = 0; i < s->nsec; i++)
		if (s->sec[i].h.kind == h->kind && s->sec[i].h.arg == h->arg &&
		    !strcmp(s->sec[i].h.name, h->name))
			return err_set(e, EBADMSG, "%s: section \"%s\" is there twice", s->name,
				       h->name);
	if (s->nsec >= DEVICES_MAX + MACHINE_CPUS_MAX || h->raw > DEVICE_MAX - s->total)
		return err_set(e, EBADMSG, "%s: more sections than a machine has", s->name);
	s->total += h->raw;
	l = realloc(s->sec, (s->nsec + 1) * sizeof(*l));
	if (!l)
		return err_set(e, ENOMEM, "%s: out of memory", s->name);
	s->sec = l;
	l += s->nsec;
	*l = (struct loaded){ .h = *h };
	s->nsec++;
	return stream_payload(&s->in, h, h->kind == SECTION_VCPU ? VCPU_MAX : DEVICE_MAX, &l->p, e);
}

bool ram_section_ok(const struct section *s, u64 size)
{
	u64 npages = size >> PAGE_SHIFT, n = (u64)__builtin_popcount(s->bits);

	return s->kind == SECTION_RAM && s->version == RAM_VERSION && !s->name[0] &&
	       s->arg < npages && s->arg % CLUSTER_PAGES == 0 && n > 0 && s->bits <= 0xffff &&
	       s->arg + (31 - (unsigned)__builtin_clz(s->bits)) < npages &&
	       s->raw == n * PAGE_SIZE && s->stored <= s->raw;
}

/* The index of memory, read and held against the file. */
static int load_index(struct state_stream *s, const struct section *h, u64 end, struct ram_entry **out,
		      u64 *n, struct err *e)
{
	u64 clusters = (s->shape.ram_size + CLUSTER_LEN - 1) / CLUSTER_LEN, page = 0;
	struct ram_entry *ix;
	u8 *p;
	int r;

	if (h->kind != SECTION_INDEX || h->version != INDEX_VERSION || h->name[0] ||
	    h->raw % ENTRY_LEN)
		return err_set(e, EBADMSG, "%s: damaged: no index of memory at byte %llu", s->name,
			       (unsigned long long)h->at);
	r = stream_payload(&s->in, h, clusters * ENTRY_LEN, &p, e);
	if (r)
		return r;
	*n = h->raw / ENTRY_LEN;
	ix = calloc(*n + 1, sizeof(*ix));
	if (!ix)
		r = err_set(e, ENOMEM, "%s: out of memory", s->name);
	for (u64 i = 0; i < *n && !r; i++) {
		const u8 *q = p + i * ENTRY_LEN;
		struct section sec = { .kind = SECTION_RAM, .version = RAM_VERSION };

		ix[i] = (struct ram_entry){ get_le64(q), get_le64(q + 8), get_le32(q + 16),
					    get_le32(q + 20) };
		sec.arg = ix[i].page;
		sec.bits = ix[i].bits;
		sec.stored = ix[i].stored;
		sec.raw = (u64)__builtin_popcount(ix[i].bits) * PAGE_SIZE;
		if (!ram_section_ok(&sec, s->shape.ram_size) || (i && ix[i].page <= page) ||
		    ix[i].at >= end || SECTION_HEADER_LEN + ix[i].stored > end - ix[i].at)
			r = err_set(e, EBADMSG, "%s: damaged: the index of memory is wrong at entry "
				    "%llu", s->name, (unsigned long long)i);
		page = ix[i].page;
	}
	free(p);
	if (r)
		free(ix);
	else
		*out = ix;
	return r;
}

/* A file is looked at from its end, too: one that is cut short is found out now. */
static int open_end(struct state_stream *s, struct err *e)
{
	u64 here = s->in.off, chain = s->in.chain, nsections = s->in.nsections, index_at;
	struct section h;
	int r = stream_trailer(&s->in, &index_at, e);

	if (!r && s->shape.has_ram) {
		stream_seek(&s->in, index_at);
		r = stream_next(&s->in, &h, e);
		if (!r)
			r = load_index(s, &h, index_at, &s->index, &s->nindex, e);
	}
	s->in.off = here;
	s->in.chain = (u32)chain;
	s->in.nsections = nsections;
	return r;
}

static int open_stream(struct state_stream *s, int fd, struct err *e)
{
	struct section *h = &s->next;
	int r = stream_in_begin(&s->in, fd, s->name, e);

	if (!r)
		r = stream_next(&s->in, h, e);
	if (!r)
		r = load_shape(s, h, e);
	while (!r) {
		r = stream_next(&s->in, h, e);
		if (r || h->kind == SECTION_RAM || h->kind == SECTION_INDEX || h->kind == SECTION_END)
			break;
		if (h->kind == SECTION_CONFIG && !s->config && h->version == 1) {
			r = stream_payload(&s->in, h, CONFIG_MAX, (u8 **)&s->config, e);
			s->info.config = s->config;
			s->info.config_len = (u32)h->raw;
			if (!r && strlen(s->config) != h->raw)
				r = err_set(e, EBADMSG, "%s: its configuration is no text", s->name);
		} else if (h->kind == SECTION_VCPU || h->kind == SECTION_DEVICE) {
			r = load_section(s, h, e);
		} else {
			r = err_set(e, ENOTSUP, "%s: section \"%s\" of kind %u is unknown to this "
				    "penta", s->name, h->name, h->kind);
		}
	}
	if (!r && (h->kind == SECTION_END) == s->shape.has_ram)
		r = err_set(e, EBADMSG, "%s: memory is %s", s->name,
			    s->shape.has_ram ? "missing" : "not where it should be");
	if (!r && s->in.seeks)
		r = open_end(s, e);
	return r;
}

int state_open(struct state_stream **out, int fd, const char *name, struct err *e)
{
	struct state_stream *s = calloc(1, sizeof(*s));
	int r;

	if (s)
		s->name = strdup(name);
	if (!s || !s->name) {
		free(s);
		return err_set(e, ENOMEM, "%s: out of memory", name);
	}
	r = open_stream(s, fd, e);
	if (r)
		state_close(s);
	else
		*out = s;
	return r;
}

const struct state_info *state_info(const struct state_stream *s)
{
	return &s->info;
}

void state_close(struct state_stream *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->nsec; i++)
		free(s->sec[i].p);
	stream_in_free(&s->in);
	free(s->sec);
	free(s->index);
	free(s->config);
	free(s->name);
	free(s);
}

/* --- does it fit? nothing is changed --- */

static int check_shape(const struct state_stream *s, struct machine *m, struct err *e)
{
	const struct shape *a = &s->shape;
	struct shape b;

	shape_of(&b, m);
	if (memcmp(a->platform, b.platform, sizeof(a->platform)) || a->board != b.board)
		return err_set(e, EINVAL, "the saved machine is %s board %u, this one is %s board %u",
			       s->info.platform, a->board, b.platform, b.board);
	if (a->ncpus != b.ncpus)
		return err_set(e, EINVAL, "the saved machine has %u CPUs, this one has %u", a->ncpus,
			       b.ncpus);
	if (a->ram_size != b.ram_size)
		return err_set(e, EINVAL, "the saved machine has %llu KiB of memory, this one has %llu",
			       (unsigned long long)(a->ram_size / KiB),
			       (unsigned long long)(b.ram_size / KiB));
	if (!a->has_ram && !ram_is_private(m->ram))
		return err_set(e, EINVAL, "its memory is not in there");
	if (memcmp(a->cpu_model, b.cpu_model, sizeof(a->cpu_model)))
		return err_set(e, EINVAL, "the saved machine has CPU model \"%s\", this one has \"%s\"",
			       s->info.cpu_model, b.cpu_model);
	if (a->tsc_khz != b.tsc_khz)
		return err_set(e, EINVAL, "the saved machine's TSC runs at %llu kHz, this one's at %llu",
			       (unsigned long long)a->tsc_khz, (unsigned long long)b.tsc_khz);
	if (a->nroms != b.nroms)
		return err_set(e, EINVAL, "the saved machine has %u ROMs, this one has %u", a->nroms,
			       b.nroms);
	for (unsigned i = 0; i < a->nroms; i++)
		if (memcmp(&a->rom[i], &b.rom[i], offsetof(struct shape_rom, crc)) ||
		    a->rom[i].crc != b.rom[i].crc)
			return err_set(e, EINVAL, "the ROM at %#llx is another one than the saved "
				       "machine had", (unsigned long long)b.rom[i].gpa);
	for (unsigned w = FW_N; w < SHAPE_FEATURE_WORDS; w++)
		if (a->features[w])
			return err_set(e, ENOTSUP, "the saved machine's processor is newer than this "
				       "penta knows");
	return 0;
}

static struct loaded *find_section(const struct state_stream *s, u16 kind, const char *name)
{
	for (unsigned i = 0; i < s->nsec; i++)
		if (s->sec[i].h.kind == kind && !strcmp(s->sec[i].h.name, name))
			return &s->sec[i];
	return NULL;
}

static struct loaded *device_section(const struct state_stream *s, const char *path,
				     const struct device_class *cls)
{
	char name[SECTION_NAME_MAX + 1];

	snprintf(name, sizeof(name), "%s=%s", path, cls->name);
	return find_section(s, SECTION_DEVICE, name);
}

struct load { struct state_stream *s; struct machine *m; struct err *e; };

static int check_device(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	struct load *l = ctx;
	struct loaded *sec;

	if (!cls->state)
		return 0;
	sec = device_section(l->s, path, cls);
	if (!sec)
		return err_set(l->e, EINVAL, "this machine has a device %s (%s) that the saved one did "
			       "not have", path, cls->name);
	if (sec->h.version > cls->version || !sec->h.version)
		return err_set(l->e, ENOTSUP, "%s: version %u of its state; this penta reads up to %u",
			       path, sec->h.version, cls->version);
	sec->used = true;
	return fields_check(cls->state, sec->h.version, dev, sec->p, sec->h.raw, path, l->e);
}

static int check_vcpus(struct state_stream *s, struct machine *m, struct err *e)
{
	struct vcpu_saved *v = calloc(1, sizeof(*v));
	int r = v ? 0 : err_set(e, ENOMEM, "out of memory");

	for (unsigned i = 0; i < m->ncpus && !r; i++) {
		struct loaded *sec;
		char name[16];

		snprintf(name, sizeof(name), "cpu%u", i);
		sec = find_section(s, SECTION_VCPU, name);
		if (!sec || sec->h.arg != i)
			r = err_set(e, EINVAL, "the state of vCPU %u is missing", i);
		else if (sec->h.version > VCPU_VERSION || !sec->h.version)
			r = err_set(e, ENOTSUP, "%s: version %u of its state; this penta reads up to %u",
				    name, sec->h.version, VCPU_VERSION);
		else
			r = fields_check(vcpu_saved_fields, sec->h.version, v, sec->p, sec->h.raw,
					 name, e);
		if (!r)
			sec->used = true;
	}
	free(v);
	return r;
}

static int check_all(struct load *l)
{
	struct state_stream *s = l->s;
	int r = check_shape(s, l->m, l->e);

	for (unsigned i = 0; i < s->nsec; i++)
		s->sec[i].used = false;
	if (!r)
		r = check_vcpus(s, l->m, l->e);
	if (!r)
		r = machine_each_device(l->m, check_device, l);
	for (unsigned i = 0; i < s->nsec && !r; i++)
		if (!s->sec[i].used)
			r = err_set(l->e, EINVAL, "the saved machine has a device %s that this one "
				    "lacks", s->sec[i].h.name);
	return r;
}

/* --- put it in --- */

static int reset_device(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	if (cls->reset)
		cls->reset(dev);
	return 0;
}

static int load_device(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	struct load *l = ctx;
	const struct loaded *sec;

	if (!cls->state)
		return 0;
	sec = device_section(l->s, path, cls);
	return fields_load(cls->state, dev, sec->p, sec->h.raw, l->e);
}

/* With the fields of all devices in place: they look at each other. */
static int post_load(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	struct load *l = ctx;
	int r = cls->post_load ? cls->post_load(dev, l->e) : 0;

	return r ? err_context(l->e, "%s", path) : 0;
}

static int load_vcpu(struct load *l, unsigned i, struct vcpu_saved *v)
{
	struct vcpu *vcpu = l->m->cpu[i];
	const struct loaded *sec;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "cpu%u", i);
	sec = find_section(l->s, SECTION_VCPU, name);
	r = fields_load(vcpu_saved_fields, v, sec->p, sec->h.raw, l->e);
	if (!r && v->apic_id != vcpu->apic_id)
		r = err_set(l->e, EINVAL, "%s has APIC id %u, this machine's has %u", name, v->apic_id,
			    vcpu->apic_id);
	return r;
}

/* Memory, in the order of the stream, to its end. */
static int load_ram(struct state_stream *s, struct machine *m, state_progress_fn *progress, void *ctx,
		    struct err *e)
{
	u8 *cluster = malloc(CLUSTER_LEN), *scratch = malloc(CLUSTER_LEN);
	u64 size = s->shape.ram_size, last = 0, n = 0, index_at = 0, at = 0;
	struct section *h = &s->next;
	struct ram_entry *ix = NULL;
	int r = cluster && scratch ? 0 : err_set(e, ENOMEM, "%s: out of memory", s->name);

	for (; !r && h->kind == SECTION_RAM; r = stream_next(&s->in, h, e)) {
		const u8 *from = cluster;

		if (!ram_section_ok(h, size) || (n && h->arg <= last)) {
			r = err_set(e, EBADMSG, "%s: the memory section at byte %llu is none that "
				    "penta writes", s->name, (unsigned long long)h->at);
			break;
		}
		last = h->arg;
		n++;
		r = stream_payload_to(&s->in, h, cluster, scratch, e);
		for (unsigned i = 0; i < CLUSTER_PAGES && !r && m; i++) {
			if (!(h->bits >> i & 1))
				continue;
			guest_copy(ram_bytes(m->ram) + ((h->arg + i) << PAGE_SHIFT), from, PAGE_SIZE);
			from += PAGE_SIZE;
		}
		if (!r && progress && n % 64 == 0 && progress(ctx, h->arg << PAGE_SHIFT, size))
			r = err_set(e, ECANCELED, "given up");
		if (r)
			break;
	}
	free(cluster);
	free(scratch);
	if (!r && s->shape.has_ram) {
		u64 entries = 0;

		at = h->at;
		r = load_index(s, h, at, &ix, &entries, e);
		free(ix);
		if (!r && entries != n)
			r = err_set(e, EBADMSG, "%s: memory has %llu sections, its index %llu", s->name,
				    (unsigned long long)n, (unsigned long long)entries);
		if (!r)
			r = stream_next(&s->in, h, e);
	}
	if (!r)
		r = stream_in_end(&s->in, h, &index_at, e);
	if (!r && index_at != at)
		r = err_set(e, EBADMSG, "%s: damaged: the index of memory is elsewhere", s->name);
	return r;
}

static int load_memory(struct load *l, bool lazy)
{
	struct state_stream *s = l->s;
	struct ram_entry *ix = s->index;
	int r;

	if (!lazy || !s->in.seeks || !s->shape.has_ram)
		return load_ram(s, l->m, NULL, NULL, l->e);
	s->index = NULL;
	r = lazy_begin(l->m, s->in.fd, s->name, ix, s->nindex, l->e);
	return r;
}

static int load_all(struct load *l, bool lazy)
{
	struct machine *m = l->m;
	struct vcpu_saved *v = calloc(m->ncpus, sizeof(*v));
	int r = v ? 0 : err_set(l->e, ENOMEM, "out of memory");

	/* What can still refuse without a trace comes first. */
	if (!r && m->cpuid)
		r = cpuid_set_features(m->cpuid, l->s->shape.features, l->e);
	for (unsigned i = 0; i < m->ncpus && !r; i++)
		r = load_vcpu(l, i, &v[i]);
	if (!r)
		r = load_memory(l, lazy);
	if (!r) {
		machine_each_device(m, reset_device, NULL);
		clock_set(m->clock, l->s->shape.clock_ns);
		m->a20 = l->s->shape.a20;
		for (unsigned i = 0; i < m->ncpus; i++)
			atomic_store(&m->cpu[i]->tsc_offset, v[i].cpu.tsc_offset);
		r = machine_each_device(m, load_device, l);
		if (!r)
			r = machine_each_device(m, post_load, l);
	}
	for (unsigned i = 0; i < m->ncpus && !r; i++) {
		if (m->cfg.engine)
			r = m->cfg.engine->set_state(m->cpu[i], &v[i].cpu, l->e);
		/* What the chips asked for while they were loaded is in there, or is no news. */
		atomic_store(&m->cpu[i]->requests,
			     (v[i].requests & VCPU_SAVED_REQUESTS) | VCPU_REQ_IRQ);
	}
	if (!r)
		m->pending = 0;
	free(v);
	return r;
}

int state_load(struct state_stream *s, struct machine *m, bool lazy, struct err *e)
{
	struct load l = { .s = s, .m = m, .e = e };
	int r;

	machine_lock(m);
	BUG_ON(m->status != MACHINE_NEW);
	r = check_all(&l);
	if (!r)
		r = load_all(&l, lazy);
	machine_unlock(m);
	return r ? err_context(e, "%s", s->name) : 0;
}

int state_verify(struct state_stream *s, state_progress_fn *progress, void *ctx, struct err *e)
{
	return load_ram(s, NULL, progress, ctx, e);
}

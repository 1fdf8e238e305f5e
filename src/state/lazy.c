/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lazy.c - the guest runs while its memory still comes in from the file.
 *
 * Every page that the file has is marked absent. Who needs one first brings in its cluster; a thread
 * of the lowest priority brings in the rest. A cluster is 64 KiB: what a page costs
 * is then a tenth of a millisecond, and the neighbours, which are often wanted next, are there.
 * A damaged one ends the machine with a message, whoever found it: nothing runs on with wrong bytes. */
#include "base/trace.h"		// log_msg
#include "state/image.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* What is wanted at once is left alone by the thread for so long: the guest's first steps. */
#define HEAD_START_MS 150

struct lazy {
	struct machine *m;
	int fd;
	char *name;
	struct ram_entry *index;
	u64 n;
	struct stream_in in;		/* in fill(): one at a time */
	u8 *cluster, *scratch;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;		/* what is below */
	pthread_cond_t cond;
	bool quit, done;
};

static const struct ram_entry *entry_of(const struct lazy *z, u64 page)
{
	u64 lo = 0, hi = z->n;

	while (lo < hi) {
		u64 mid = (lo + hi) / 2;

		if (z->index[mid].page + CLUSTER_PAGES <= page)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < z->n && z->index[lo].page <= page ? &z->index[lo] : NULL;
}

/* On the loop, lock held. */
static void report(void *ctx)
{
	struct lazy *z = ctx;

	if (!z->m->fatal.code)
		ram_lost(z->m->ram, &z->m->fatal);
	machine_report_crash(z->m, NULL, NULL);
}

static int read_cluster(struct lazy *z, const struct ram_entry *ix, struct err *e)
{
	struct section h;
	int r;

	stream_seek(&z->in, ix->at);
	r = stream_next(&z->in, &h, e);
	if (!r && (!ram_section_ok(&h, ram_size(z->m->ram)) || h.arg != ix->page ||
		   h.bits != ix->bits || h.stored != ix->stored))
		r = err_set(e, EBADMSG, "%s: damaged: the memory section at byte %llu is another one "
			    "than the index says", z->name, (unsigned long long)ix->at);
	return r ? r : stream_payload_to(&z->in, &h, z->cluster, z->scratch, e);
}

static int lazy_fill(void *ctx, u64 page, struct err *e)
{
	struct lazy *z = ctx;
	struct ram *ram = z->m->ram;
	const struct ram_entry *ix = entry_of(z, page);
	const u8 *from = z->cluster;
	int r;

	BUG_ON(!ix);
	r = read_cluster(z, ix, e);
	if (r) {
		loop_post(z->m->loop, report, z);
		return r;
	}
	for (unsigned i = 0; i < CLUSTER_PAGES; i++) {
		if (!(ix->bits >> i & 1))
			continue;
		/* One that was discarded meanwhile stays zero. */
		if (ram_page_is_absent(ram, ix->page + i)) {
			memcpy(ram_bytes(ram) + ((ix->page + i) << PAGE_SHIFT), from, PAGE_SIZE);
			ram_page_arrived(ram, ix->page + i);
		}
		from += PAGE_SIZE;
	}
	return 0;
}

static bool told_to_quit(struct lazy *z, unsigned wait_ms)
{
	struct timespec ts;
	bool quit;

	pthread_mutex_lock(&z->lock);
	if (wait_ms && !z->quit) {
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += (long)wait_ms * 1000000;
		ts.tv_sec += ts.tv_nsec / 1000000000;
		ts.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&z->cond, &z->lock, &ts);
	}
	quit = z->quit;
	pthread_mutex_unlock(&z->lock);
	return quit;
}

static void *lazy_main(void *arg)
{
	struct lazy *z = arg;
	struct ram *ram = z->m->ram;
	bool ok = true;

	setpriority(PRIO_PROCESS, 0, 19);	/* this thread's alone */
	sandbox_enter(z->m->cfg.sandbox, SANDBOX_CONTROL);
	ok = !told_to_quit(z, HEAD_START_MS);
	for (u64 i = 0; i < z->n && ok; i++)
		ok = ram_fill(ram, z->index[i].page,
			      MIN((u64)CLUSTER_PAGES, (ram_size(ram) >> PAGE_SHIFT) - z->index[i].page)) &&
		     !told_to_quit(z, 0);
	if (ok)		/* all are there: nobody need look any more */
		ram_fill(ram, 0, ram_size(ram) >> PAGE_SHIFT);
	return NULL;
}

static void lazy_free(void *ctx)
{
	struct lazy *z = ctx;

	if (z->started) {
		pthread_mutex_lock(&z->lock);
		z->quit = true;
		pthread_cond_broadcast(&z->cond);
		pthread_mutex_unlock(&z->lock);
		pthread_join(z->thread, NULL);
	}
	stream_in_free(&z->in);
	if (z->fd >= 0)
		close(z->fd);
	pthread_cond_destroy(&z->cond);
	pthread_mutex_destroy(&z->lock);
	free(z->cluster);
	free(z->scratch);
	free(z->index);
	free(z->name);
	free(z);
}

int lazy_begin(struct machine *m, int fd, const char *name, struct ram_entry *index, u64 n,
	       struct err *e)
{
	struct lazy *z = calloc(1, sizeof(*z));
	const struct ram_source source = { .fill = lazy_fill, .free = lazy_free, .ctx = z };
	u8 *absent = calloc(1, ram_size(m->ram) >> PAGE_SHIFT);
	int r;

	if (!z || !absent) {
		free(z);
		free(absent);
		free(index);
		return err_set(e, ENOMEM, "%s: out of memory", name);
	}
	z->m = m;
	z->index = index;
	z->n = n;
	z->name = strdup(name);
	z->cluster = malloc(CLUSTER_LEN);
	z->scratch = malloc(CLUSTER_LEN);
	pthread_mutex_init(&z->lock, NULL);
	pthread_cond_init(&z->cond, NULL);
	z->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	r = z->fd < 0 ? err_errno(e, "%s", name) :
	    !z->name || !z->cluster || !z->scratch ? err_set(e, ENOMEM, "%s: out of memory", name) :
	    stream_in_begin(&z->in, z->fd, z->name, e);
	for (u64 i = 0; i < n && !r; i++)
		for (unsigned k = 0; k < CLUSTER_PAGES; k++)
			if (index[i].bits >> k & 1)
				absent[index[i].page + k] = 1;
	if (!r) {
		ram_set_source(m->ram, &source, absent);
		z->started = pthread_create(&z->thread, NULL, lazy_main, z) == 0;
		if (z->started)
			pthread_setname_np(z->thread, "fill");
	} else {
		lazy_free(z);
	}
	free(absent);
	return r;
}

int state_complete(struct machine *m, struct err *e)
{
	if (ram_fill(m->ram, 0, ram_size(m->ram) >> PAGE_SHIFT))
		return 0;
	ram_lost(m->ram, e);
	return -e->code;
}

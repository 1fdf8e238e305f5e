// SPDX-License-Identifier: GPL-2.0-or-later
/* fs.c - the file system device: FUSE requests of the guest, served from a folder by share/.
 * After: Virtio 1.2, 5.11. Not offered: DAX, notifications.
 *
 *	loop (machine lock)             thread of this device (no lock)      loop or thread (machine lock)
 *	kick(): ring_pop -> todo  --->  share_serve() into guest memory ---> done -> ring_push, interrupt
 *
 * The thread makes the system calls, which may wait for a disk or a network; it holds the machine lock
 * only to hand back what is done. Whoever must know that nothing is written into guest memory any more
 * (reset, save) waits for it with the machine lock held: so the thread, before it asks for that
 * lock, has told under its own that it is through. Lock order: machine, then vfs.mutex. */
#include "virtio/fs.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/trace.h"
#include <errno.h>
#include <signal.h>
#include <string.h>

enum vfs_queue { Q_HIPRIO, Q_REQUEST, Q_COUNT };	/* 5.11.2 */
enum { CFG_TAG = 0, CFG_NQUEUES = 36, CFG_LEN = 40 };	/* 5.11.4 */
#define QUEUE_SIZE 512u		/* Linux takes requests of up to QUEUE_SIZE - 4 pages */
#define GUEST_BYTES_PER_NODE 1024u	/* at least, in a Linux guest: struct fuse_inode, dentry, ... */

struct vfs {
	struct virtio v;
	struct share *s;
	u8 tag[VFS_TAG_MAX];
	pthread_t thread;
	bool has_thread;
	struct iovec *iov;		/* the thread's */

	pthread_mutex_t mutex;		/* protects what is below */
	pthread_cond_t work, idle;
	struct ring_chain *todo, **todo_end;
	struct ring_chain *done, **done_end;	/* priv: bytes of the answer */
	bool busy;			/* the thread has one of them */
	bool hold;			/* the thread takes none */
	bool quit;

	struct state_blob blob;		/* share_save()'s, between pre_save and the stream */
};

/* --- the thread --- */

/* Give back what is done. Machine lock held. */
static void push_done(struct vfs *f)
{
	struct ring_chain *c, *next;
	bool notify[Q_COUNT] = { false };

	pthread_mutex_lock(&f->mutex);
	c = f->done;
	f->done = NULL;
	f->done_end = &f->done;
	pthread_mutex_unlock(&f->mutex);
	for (; c; c = next) {
		next = c->next;
		notify[c->ring - f->v.queue] = true;
		ring_push(c, (u32)(uintptr_t)c->priv);
	}
	for (unsigned q = 0; q < Q_COUNT; q++)
		if (notify[q])
			virtio_notify(&f->v, q);
}

static size_t serve(struct vfs *f, struct ring_chain *c)
{
	struct iovec *in = f->iov, *out = f->iov + c->nread;
	size_t n;

	for (unsigned i = 0; i < c->nread + c->nwrite; i++)
		f->iov[i] = (struct iovec){ c->seg[i].hva, c->seg[i].len };
	n = share_serve(f->s, in, c->nread, out, c->nwrite);
	chain_wrote(c, 0, n);
	return n;
}

static void *vfs_thread(void *ctx)
{
	struct vfs *f = ctx;

	share_thread();
	sandbox_enter(f->v.m->cfg.sandbox, SANDBOX_FILES);
	pthread_mutex_lock(&f->mutex);
	while (!f->quit) {
		struct ring_chain *c = f->hold ? NULL : f->todo;
		size_t n;

		if (!c) {
			pthread_cond_wait(&f->work, &f->mutex);
			continue;
		}
		f->todo = c->next;
		if (!f->todo)
			f->todo_end = &f->todo;
		f->busy = true;
		pthread_mutex_unlock(&f->mutex);

		n = serve(f, c);

		pthread_mutex_lock(&f->mutex);
		c->priv = (void *)(uintptr_t)n;
		c->next = NULL;
		*f->done_end = c;
		f->done_end = &c->next;
		f->busy = false;
		pthread_cond_broadcast(&f->idle);
		pthread_mutex_unlock(&f->mutex);

		machine_lock(f->v.m);
		push_done(f);
		machine_unlock(f->v.m);
		pthread_mutex_lock(&f->mutex);
	}
	pthread_mutex_unlock(&f->mutex);
	return NULL;
}

/* The machine begins to run: the thread must exist before the sandbox closes. */
static void start_thread(struct vfs *f)
{
	sigset_t all, old;
	int r;

	if (f->has_thread)
		return;
	sigfillset(&all);		/* signals are for other threads */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&f->thread, NULL, vfs_thread, f);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	f->has_thread = r == 0;
	if (r)
		log_msg(LOG_ERROR, "shared folder: no thread for it: %s", strerror(r));
}

/* Wait until the thread is through, with what is to be done (@all) or just with the one that it has.
 * Machine lock held. */
static void settle(struct vfs *f, bool all)
{
	struct ring_chain *c, *next;

	if (!f->has_thread)
		return;
	pthread_mutex_lock(&f->mutex);
	f->hold = !all;
	while (f->busy || (all && f->todo)) {
		/* Between two requests the thread takes the machine lock. Never when the driver resets:
		 * then it is to end one request, for which it needs no lock, and others must stay out. */
		if (all)
			machine_unlock(f->v.m);
		pthread_cond_wait(&f->idle, &f->mutex);
		if (all) {
			pthread_mutex_unlock(&f->mutex);
			machine_lock(f->v.m);
			pthread_mutex_lock(&f->mutex);
		}
	}
	f->hold = false;
	c = f->todo;
	f->todo = NULL;
	f->todo_end = &f->todo;
	pthread_mutex_unlock(&f->mutex);
	for (; c; c = next) {		/* only when the driver has reset: these are dropped */
		next = c->next;
		ring_push(c, 0);
	}
	push_done(f);
}

/* --- the device --- */

static void vfs_kick(void *dev, unsigned q)
{
	struct vfs *f = dev;
	struct ring_chain *c;
	bool any = false;

	if (!f->has_thread) {
		virtio_broken(&f->v, "there is no thread to serve it");
		return;
	}
	while ((c = virtio_pop(&f->v, q))) {
		c->next = NULL;
		pthread_mutex_lock(&f->mutex);
		*f->todo_end = c;
		f->todo_end = &c->next;
		pthread_mutex_unlock(&f->mutex);
		any = true;
	}
	if (any)
		pthread_cond_signal(&f->work);
}

static void vfs_stop(void *dev, int q)
{
	struct vfs *f = dev;

	settle(f, false);
	if (q < 0)
		share_reset(f->s);
}

static void vfs_config_read(void *dev, unsigned off, u8 *buf, unsigned len)
{
	const struct vfs *f = dev;
	u8 c[CFG_LEN];

	memcpy(c + CFG_TAG, f->tag, VFS_TAG_MAX);
	put_le32(c + CFG_NQUEUES, Q_COUNT - Q_REQUEST);
	memcpy(buf, c + off, len);
}

static const struct virtio_class vfs_virtio_class = {
	.name = "virtio-fs", .type = VIRTIO_FS, .pci_class = 0x018000, .config_len = CFG_LEN,
	.config_read = vfs_config_read, .stop = vfs_stop, .kick = vfs_kick,
};

static void vfs_reset(void *dev)
{
	struct vfs *f = dev;

	start_thread(f);
	virtio_reset(&f->v);
	settle(f, false);
	share_reset(f->s);
}

static void vfs_free(void *dev)
{
	struct vfs *f = dev;

	if (!f)
		return;
	if (f->has_thread) {
		pthread_mutex_lock(&f->mutex);
		f->quit = true;
		pthread_cond_signal(&f->work);
		pthread_mutex_unlock(&f->mutex);
		pthread_join(f->thread, NULL);
	}
	for (struct ring_chain *c = f->todo, *next; c; c = next) {
		next = c->next;
		ring_push(c, 0);
	}
	virtio_fini(&f->v);
	share_free(f->s);
	state_blob_free(&f->blob);
	free(f->iov);
	pthread_cond_destroy(&f->idle);
	pthread_cond_destroy(&f->work);
	pthread_mutex_destroy(&f->mutex);
	free(f);
}

static void vfs_quiesce(void *dev)
{
	settle(dev, true);
}

static void vfs_pre_save(void *dev)
{
	struct vfs *f = dev;
	struct err e = { 0 };
	size_t len = 0;

	state_blob_free(&f->blob);
	if (share_save(f->s, &f->blob.p, &len, &e) < 0)
		log_msg(LOG_ERROR, "%s; restored, the guest will find its files stale", e.msg);
	f->blob.len = (u32)len;
}

static int vfs_post_load(void *dev, struct err *e)
{
	struct vfs *f = dev;
	int r;

	start_thread(f);
	settle(f, false);
	r = virtio_post_load(&f->v, e);
	if (!r && f->blob.len)
		r = share_load(f->s, f->blob.p, f->blob.len, e);
	else
		share_reset(f->s);
	state_blob_free(&f->blob);
	return r;
}

static const struct state_field vfs_state[] = {
	STATE_STRUCT(struct vfs, v, virtio_state),
	STATE_BLOB(struct vfs, blob, SHARE_STATE_MAX),
	STATE_END
};

const struct device_class vfs_class = {
	.name = "virtio-fs", .version = 1, .state = vfs_state, .reset = vfs_reset, .free = vfs_free,
	.post_load = vfs_post_load, .pre_save = vfs_pre_save, .quiesce = vfs_quiesce,
};

int vfs_new(struct vfs **out, struct machine *m, const char *tag, const struct share_opts *o,
	    struct err *e)
{
	struct share_opts opts = *o;
	cleanup_close int dir_fd = o->dir_fd;
	size_t len = strlen(tag);
	struct vfs *f;
	int r;

	if (len < 1 || len > VFS_TAG_MAX)
		return err_set(e, EINVAL, "shared folder: its tag '%s' has %zu bytes; it can have 1 to %u",
			       tag, len, VFS_TAG_MAX);
	f = calloc(1, sizeof(*f));
	if (!f)
		return err_set(e, ENOMEM, "shared folder: out of memory");
	memcpy(f->tag, tag, len);
	pthread_mutex_init(&f->mutex, NULL);
	pthread_cond_init(&f->work, NULL);
	pthread_cond_init(&f->idle, NULL);
	f->todo_end = &f->todo;
	f->done_end = &f->done;
	/* An honest guest knows no more files than its memory has room for. */
	if (!opts.nodes_max)
		opts.nodes_max = (unsigned)MIN(MAX(ram_size(m->ram) / GUEST_BYTES_PER_NODE, 65536u),
					       1024 * 1024u);
	r = share_new(&f->s, &opts, e);
	dir_fd = -1;
	/* A chain's segments: at most as many as descriptors, each cut where memory's blocks meet. */
	f->iov = r ? NULL : calloc(4 * RING_SIZE_MAX, sizeof(*f->iov));
	if (!r && !f->iov)
		r = err_set(e, ENOMEM, "shared folder: out of memory");
	if (!r)
		r = virtio_init(&f->v, m, &vfs_virtio_class, f, 0, Q_COUNT, QUEUE_SIZE, e);
	if (r < 0) {
		vfs_free(f);
		return r;
	}
	*out = f;
	return 0;
}

struct virtio *vfs_virtio(struct vfs *f)
{
	return &f->v;
}

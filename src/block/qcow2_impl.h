/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2_impl.h - what the parts of the qcow2 layer share.
 *
 *	qcow2.c		opening, and what the block layer asks for
 *	qcow2_io.c	a request, cluster by cluster: where it is, allocate, copy on write, zeroes
 *	qcow2_table.c	L2 tables and refcount blocks in memory
 *	qcow2_alloc.c	which clusters are free
 *	qcow2_flush.c	the order in which all that reaches the disk
 *	qcow2_map.c	what is in this file, and what below
 *
 * What holds at every moment, so that a crash or a power cut costs at most lost clusters (leaks):
 *  1. Nothing on the disk refers to a cluster whose refcount is 0 on the disk, or whose content
 *     (data, copied data, a table) is not there yet. qcow2_flush.c: counts and data first, then
 * what refers to them.
 *  2. A cluster that was let go is used again, and counted down, only when nothing on the disk
 *     refers to it any more, and no read of it is under way.
 *  3. Tables are changed in memory alone; a flush writes copies, taken all at one moment.
 *
 * Work that has to wait (for a table, for another write to the same cluster, for a flush) is parked
 * on a list, and starts over when that is there. Everything runs with the machine lock held. */
#ifndef PENTA_BLOCK_QCOW2_IMPL_H
#define PENTA_BLOCK_QCOW2_IMPL_H

#include "block/qcow2.h"

struct parked {				/* work that waits */
	void (*run)(struct parked *p);
	struct parked *next;
};
void park(struct parked **list, struct parked *p);
void unpark(struct parked **list); /* run all of them; those that park again wait for next time */

/* --- qcow2_table.c --- */

struct table {
	u64 off;			/* in the file; the key */
	u8 *data;			/* a cluster */
	bool counts;			/* a refcount block, not an L2 table */
	bool loading;
	int error;			/* of loading; the table goes when everybody has heard */
	u32 dirty_from, dirty_to;	/* bytes; from == to: clean */
	unsigned pins;			/* stays in memory while not 0 */
	struct parked *waiters;
	struct table *hash_next, *older, *newer;
	struct qcow2 *q;
	struct block_req req;		/* loading */
	struct iovec iov;
};

/* --- */

enum op_kind { OP_READ, OP_INPLACE, OP_ALLOC };

struct range { u64 off, n, seq; };	/* clusters let go: in the file, how many, after which op */
struct ranges { struct range *v; size_t n, room; };

struct qcow2 {
	struct block b;
	struct block *file, *backing;
	char *path;
	struct qcow2_header h;
	unsigned bits;			/* of a cluster */
	u64 cs;				/* bytes of a cluster */
	u64 per_l2, per_block;		/* entries of an L2 table, counts of a refcount block */
	bool discard;
	bool corrupt;			/* said so once; nothing is allocated any more */
	unsigned submitting;		/* inside submit(): ends are told later */

	u64 *l1;			/* host order */
	u64 l1_from, l1_to;		/* changed entries; from == to: none */
	u64 *rt;			/* refcount table, host order */
	u64 rt_n, rt_from, rt_to;

	struct table **hash;
	unsigned hash_size, ntables, tables_max;
	struct table *oldest, *newest;	/* all of them, by last use */

	u64 hint;			/* no free cluster below this number */
	u64 virgin;			/* the file has never had anything from this byte on */
	struct ranges let_go;		/* not referred to in memory any more */
	struct ranges durable;		/* nor on the disk: may be counted down */
	struct parked release;		/* counts them down */
	struct range now;		/* the one it is at */
	bool releasing, punched;
	struct block_req punch;

	u64 seq;			/* of operations */
	struct op *reads, *reads_end, *writes;	/* under way; reads by seq */
	u64 cow_bytes;			/* in buffers of operations */
	unsigned nops;			/* of them, all kinds */
	struct parked *room;		/* waits for one of these two to become less */

	struct flush *flush;		/* under way, or NULL */
	struct block_req *flush_next, **flush_next_end;	/* for the one after */
	struct parked *flushed;		/* waits for the end of a flush */
	int room_error;			/* of that flush, while they are told */

	struct inflated *inflated[4];	/* last clusters that were decompressed */
	unsigned inflated_next;
};

/* Something is under way that is nobody's request: draining waits for it too. */
void qcow2_hold(struct qcow2 *q);
void qcow2_unhold(struct qcow2 *q);
void qcow2_end(struct qcow2 *q, struct block_req *r, int ret);
/* The image contradicts itself at @off. Says so once; -EIO. */
int qcow2_damaged(struct qcow2 *q, const char *what, u64 off);

/* The table at @off. 0; -EAGAIN: @p is parked until it is worth asking again; or -errno. */
int table_get(struct qcow2 *q, u64 off, struct parked *p, struct table **out);
/* A new one, all zeros, dirty as a whole. -EAGAIN as above. */
int table_new(struct qcow2 *q, u64 off, struct parked *p, struct table **out);
struct table *table_cached(struct qcow2 *q, u64 off);
void table_dirty(struct table *t, u64 from, u64 to);
/* Room for another table, so that the next table_get() or table_new() does not have to wait. */
int table_room(struct qcow2 *q, struct parked *p);
void tables_free(struct qcow2 *q);

/* Up to @n free clusters in a row, now in use. -EAGAIN as above, -ENOSPC. *@clean: they read as
 * zeros. */
int cluster_alloc(struct qcow2 *q, u64 n, struct parked *p, u64 *off, u64 *got, bool *clean);
/* These were never referred to on the disk: free at once. */
void cluster_unalloc(struct qcow2 *q, u64 off, u64 n);
/* Not referred to any more: free when that is on the disk. */
void cluster_let_go(struct qcow2 *q, u64 off, u64 n);
/* Nothing on the disk refers to @l any more; empties it. */
void cluster_on_disk(struct qcow2 *q, struct ranges *l);
/* Count down what may be. */
void cluster_release(struct qcow2 *q);
/* Does the cluster at @off hold tables? */
bool cluster_is_meta(struct qcow2 *q, u64 off);

/* @r: a flush, or a write that wants to be durable; NULL: on our own account. */
void flush_request(struct qcow2 *q, struct block_req *r);

void io_submit(struct qcow2 *q, struct block_req *r);
/* The L2 table for @off. 1: there is one; 0: there is none; -EAGAIN as above, -errno. */
int l2_get(struct qcow2 *q, u64 off, struct parked *p, struct table **out);
/* Oldest read under way started after operation @seq? */
bool io_reads_newer(struct qcow2 *q, u64 seq);

/* Unpack one cluster. 0 or -EIO. */
int qcow2_inflate(bool zstd, const u8 *in, size_t in_len, u8 *out, size_t out_len);

#endif

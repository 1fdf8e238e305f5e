/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config.h - what a machine is made of: one struct, and one table of its fields. The table reads
 * options ("--disk a.img,ro") and config.json ({"disk": [{"path": "a.img", "ro": true}]}), writes
 * the latter, and is what help, completion and the manual's test read: an option, its key and its
 * checks are said once. docs/machines.md describes the file for people. */
#ifndef PENTA_MANAGE_MACHINE_CONFIG_H
#define PENTA_MANAGE_MACHINE_CONFIG_H

#include "base/err.h"
#include "base/types.h"
#include <jansson.h>

enum vm_limits {
	VM_SERIALS = 2, VM_CONSOLES = 8, VM_DISKS = 16, VM_NETS = 8, VM_SHARES = 8,
	VM_STRING_MAX = 4096,		/* bytes of any value, its NUL included */
	VM_CONFIG_MAX = 1 << 20,	/* bytes of config.json */
};

/* All strings are owned; a field that was not given is NULL, or the table's default. */
struct vm_disk {
	char *path, *serial;
	unsigned format;		/* VM_DISK_FORMATS */
	unsigned cache;			/* enum block_cache */
	unsigned queues;		/* 0: one for each CPU, at most 4 */
	bool ro, discard, packed;
};
struct vm_net {
	char *spec;			/* net/open.h: "user,forward=2222:22" */
	char *mac;			/* NULL: one is made up */
	unsigned queues, mtu;		/* 0: the usual */
	bool packed;
};
struct vm_share { char *dir, *tag; bool ro, mapped; };
struct vm_where { char *where; };	/* a character back end; serial.h */
struct vm_port { char *where, *name; };	/* name: of a channel for programs; NULL: a console */
struct vm_file { char *path; };

struct vm_config {
	char *uuid;
	char *kernel, *initrd, *append, *firmware;
	unsigned boot;			/* enum boot_how */
	u64 memory;			/* bytes */
	unsigned cpus, engine, machine;	/* engine: VM_ENGINES */
	char *cpu;			/* a CPU model's name */
	unsigned nserial, nconsole, ndisk, nnet, npcap, nshare;
	struct vm_where serial[VM_SERIALS];
	struct vm_port console[VM_CONSOLES];
	struct vm_disk disk[VM_DISKS];
	struct vm_net net[VM_NETS];
	struct vm_file pcap[VM_NETS];	/* the nth is for the nth net */
	struct vm_share share[VM_SHARES];
	unsigned vsock;			/* the guest's CID; 0: none; VM_CID_AUTO */
	bool balloon, sandbox, autostart;
	char *user;			/* whom a machine that root starts becomes; base/privilege.h */
	unsigned on_crash;		/* enum on_crash */
	unsigned stop_timeout;		/* seconds that `stop` waits for the guest */
};

#define VM_ENGINES "auto soft kvm"
#define VM_MACHINES "lite"
#define VM_ON_CRASH "exit reset pause"		/* as enum on_crash */
#define VM_BOOTS "auto direct bzimage64 bzimage32 elf pvh multiboot"	/* as enum boot_how */
#define VM_CACHES "writeback none writethrough unsafe"			/* as enum block_cache */
#define VM_DISK_FORMATS "auto raw qcow2"
#define VM_CID_AUTO UINT32_MAX

enum field_type {
	FIELD_BOOL,		/* on|off; JSON: true, false */
	FIELD_NUMBER,		/* unsigned, @min..@max */
	FIELD_SIZE,		/* u64 bytes, @min..@max */
	FIELD_CHOICE,		/* unsigned: index in @values */
	FIELD_CID,		/* unsigned; "auto" or 3..2^32-2, "off" */
	FIELD_STRING,		/* char * */
	FIELD_PATH,		/* char *: a host path, relative to the machine's folder in config.json */
	FIELD_WHERE,		/* char *: may hold a path behind "file:" or "unix:" */
	FIELD_SPEC,		/* char *: the first of a list's element; takes the keys that no other
				 * field of the element has, too */
	FIELD_LIST,		/* @max elements of @stride bytes, described by @sub; their number,
				 * an unsigned, is at @count */
};

struct config_field {
	const char *name;	/* of the option and the key; NULL ends a table */
	enum field_type type;
	u32 offset, count, stride;
	u64 min, max, def;
	const char *arg;	/* for help: "SIZE"; NULL: no option of that name, only a key */
	const char *values;	/* the words of a choice; else what completion offers, or NULL */
	const char *help;	/* '\n' breaks lines */
	const struct config_field *sub;
	int (*check)(const char *val, const char *what, struct err *e);	/* strings; may be NULL */
	const char *create;	/* what `penta create` sets when it is not told; NULL: @def */
	bool live;		/* `set` applies it to a running machine */
};
extern const struct config_field vm_config_fields[];

void vm_config_init(struct vm_config *c);	/* the defaults */
void vm_config_free(struct vm_config *c);	/* accepts a zeroed one */
int vm_config_copy(struct vm_config *to, const struct vm_config *from, struct err *e);

/* The field that an option or key names, or NULL. */
const struct config_field *vm_config_find(const char *name);
/* Set field @f from an option's text; of a list: append one element. @what: "--disk". */
int vm_config_set(struct vm_config *c, const struct config_field *f, const char *val,
		  const char *what, struct err *e);
/* Back to the default; a list becomes empty. */
void vm_config_unset(struct vm_config *c, const struct config_field *f);
/* The field as an option's text, of element @i of a list; NULL: not set. To be freed. */
char *vm_config_get(const struct vm_config *c, const struct config_field *f, unsigned i);
bool vm_config_same(const struct vm_config *a, const struct vm_config *b,
		    const struct config_field *f);

/* What no single field can tell: what belongs together, or excludes each other. */
int vm_config_check(const struct vm_config *c, struct err *e);

/* @c: initialized; keys that @text lacks keep their defaults. @name: for errors. Hostile input. */
int vm_config_parse(struct vm_config *c, const char *text, size_t len, const char *name,
		    struct err *e);
char *vm_config_print(const struct vm_config *c);	/* NULL: out of memory; to be freed */
json_t *vm_config_json(const struct vm_config *c);	/* a new reference, or NULL */

/* Call @fn for each host path in @c, which may replace it: relative to absolute and back. */
int vm_config_each_path(struct vm_config *c, int (*fn)(char **path, void *ctx, struct err *e),
			void *ctx, struct err *e);

/* "52:54:00:12:34:56". False: it is none, or one of a group. */
bool vm_mac_parse(const char *s, u8 mac[6]);

#endif

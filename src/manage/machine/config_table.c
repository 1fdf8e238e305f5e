// SPDX-License-Identifier: GPL-2.0-or-later
/* config_table.c - the fields of a machine's configuration, each said once. See config.h. */
#include "manage/machine/config.h"
#include "manage/machine/serial.h"	// serial_spec_ok
#include "vm/cpuid.h"			// cpu_model_find
#include "vm/machine.h"			// MACHINE_CPUS_MAX
#include "virtio/virtio.h"		// VIRTIO_QUEUES_MAX
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- checks of strings --- */

static int check_cpu(const char *val, const char *what, struct err *e)
{
	return cpu_model_find(val) ? 0 : err_set(e, EINVAL, "%s %s: one of these is needed: %s",
						 what, val, cpu_model_names());
}

static int check_where(const char *val, const char *what, struct err *e)
{
	return serial_spec_ok(val, what, e) ? 0 : -EINVAL;
}

bool vm_mac_parse(const char *s, u8 mac[6])
{
	for (unsigned i = 0; i < 6; i++) {
		char hex[3] = { 0 };

		if (!isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1]) ||
		    s[2] != (i < 5 ? ':' : '\0'))
			return false;
		memcpy(hex, s, 2);
		mac[i] = (u8)strtoul(hex, NULL, 16);
		s += 3;
	}
	return !(mac[0] & 1);		/* no group's address */
}

static int check_mac(const char *val, const char *what, struct err *e)
{
	u8 mac[6];

	return vm_mac_parse(val, mac) ? 0 :
	       err_set(e, EINVAL, "%s %s: a card's address looks like 52:54:00:12:34:56", what, val);
}

/* Virtio 1.2, 5.2.6.1: GET_ID has room for 20 bytes. */
static int check_serial_number(const char *val, const char *what, struct err *e)
{
	size_t len = strlen(val);

	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)val[i]))
			len = 0;
	return len && len <= 20 ? 0 : err_set(e, EINVAL, "%s %s: a serial number has 1 to 20 "
					      "letters and digits", what, val);
}

static int check_tag(const char *val, const char *what, struct err *e)
{
	size_t len = strlen(val);

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)val[i]) && !strchr("-_.", val[i]))
			len = 0;
	return len && len <= 31 ? 0 : err_set(e, EINVAL, "%s %s: a tag has 1 to 31 of the "
					      "characters A-Z a-z 0-9 . _ -", what, val);
}

static int check_port_name(const char *val, const char *what, struct err *e)
{
	size_t len = strlen(val);

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)val[i]) && !strchr("-_.", val[i]))
			len = 0;
	return len && len <= 63 ? 0 : err_set(e, EINVAL, "%s %s: a channel's name has 1 to 63 of the "
					      "characters A-Z a-z 0-9 . _ -", what, val);
}

static int check_uuid(const char *val, const char *what, struct err *e)
{
	bool ok = strlen(val) == 36;

	for (unsigned i = 0; ok && i < 36; i++)
		ok = i == 8 || i == 13 || i == 18 || i == 23 ? val[i] == '-'
							     : isxdigit((unsigned char)val[i]);
	return ok ? 0 : err_set(e, EINVAL, "%s %s: a UUID has 32 hexadecimal digits in groups of "
				"8-4-4-4-12", what, val);
}

/* --- elements of lists --- */

#define AT(S, f) .offset = offsetof(struct S, f)

static const struct config_field where_fields[] = {
	{ .name = "where", .type = FIELD_WHERE, AT(vm_where, where), .check = check_where },
	{ .name = NULL },
};

static const struct config_field port_fields[] = {
	{ .name = "where", .type = FIELD_WHERE, AT(vm_port, where), .check = check_where },
	{ .name = "name", .type = FIELD_STRING, AT(vm_port, name), .check = check_port_name },
	{ .name = NULL },
};

static const struct config_field file_fields[] = {
	{ .name = "path", .type = FIELD_PATH, AT(vm_file, path) },
	{ .name = NULL },
};

static const struct config_field disk_fields[] = {
	{ .name = "path", .type = FIELD_PATH, AT(vm_disk, path) },
	{ .name = "format", .type = FIELD_CHOICE, AT(vm_disk, format), .values = VM_DISK_FORMATS },
	{ .name = "ro", .type = FIELD_BOOL, AT(vm_disk, ro) },
	{ .name = "serial", .type = FIELD_STRING, AT(vm_disk, serial),
	  .check = check_serial_number },
	{ .name = "cache", .type = FIELD_CHOICE, AT(vm_disk, cache), .values = VM_CACHES },
	{ .name = "queues", .type = FIELD_NUMBER, AT(vm_disk, queues), .max = VIRTIO_QUEUES_MAX },
	{ .name = "discard", .type = FIELD_BOOL, AT(vm_disk, discard), .def = true },
	{ .name = "packed", .type = FIELD_BOOL, AT(vm_disk, packed) },
	{ .name = NULL },
};

static const struct config_field net_fields[] = {
	{ .name = "spec", .type = FIELD_SPEC, AT(vm_net, spec) },
	{ .name = "mac", .type = FIELD_STRING, AT(vm_net, mac), .check = check_mac },
	{ .name = "queues", .type = FIELD_NUMBER, AT(vm_net, queues), .max = 8 },
	{ .name = "mtu", .type = FIELD_NUMBER, AT(vm_net, mtu), .max = 65521 },
	{ .name = "packed", .type = FIELD_BOOL, AT(vm_net, packed) },
	{ .name = NULL },
};

static const struct config_field share_fields[] = {
	{ .name = "dir", .type = FIELD_PATH, AT(vm_share, dir) },
	{ .name = "tag", .type = FIELD_STRING, AT(vm_share, tag), .check = check_tag },
	{ .name = "ro", .type = FIELD_BOOL, AT(vm_share, ro) },
	{ .name = "mapped", .type = FIELD_BOOL, AT(vm_share, mapped) },
	{ .name = NULL },
};

/* --- the machine; in the order in which help and config.json show them --- */

#define LIST(f, elem, most, subt) \
	.type = FIELD_LIST, AT(vm_config, f), .count = offsetof(struct vm_config, n##f), \
	.stride = sizeof(struct elem), .max = most, .sub = subt

const struct config_field vm_config_fields[] = {
	{ .name = "uuid", .type = FIELD_STRING, AT(vm_config, uuid), .check = check_uuid },
	{ .name = "machine", .type = FIELD_CHOICE, AT(vm_config, machine), .values = VM_MACHINES,
	  .arg = "NAME", .help = "what the guest sees: lite (default)" },
	{ .name = "engine", .type = FIELD_CHOICE, AT(vm_config, engine), .values = VM_ENGINES,
	  .arg = "NAME", .help =
		"who executes the guest: auto (default: the best this\n"
		"host has), soft (needs nothing), kvm (/dev/kvm)" },
	{ .name = "memory", .type = FIELD_SIZE, AT(vm_config, memory), .min = 2 * MiB,
	  .max = 1024 * GiB, .def = 512 * MiB, .arg = "SIZE", .values = "256M 512M 1G 2G 4G",
	  .help = "RAM, 2M to 1T (default 512M); a bare number is MiB" },
	{ .name = "cpus", .type = FIELD_NUMBER, AT(vm_config, cpus), .min = 1,
	  .max = MACHINE_CPUS_MAX, .def = 1, .arg = "N", .values = "1 2 4",
	  .help = "processors, 1 to 64 (default 1)" },
	{ .name = "cpu", .type = FIELD_STRING, AT(vm_config, cpu), .check = check_cpu,
	  .arg = "MODEL", .values = "base v2 v3 max", .help =
		"processor model: base, v2, v3 (the x86-64 levels), max\n"
		"(all that this host has and the engine knows; default)" },
	{ .name = "kernel", .type = FIELD_PATH, AT(vm_config, kernel), .arg = "FILE",
	  .values = "@file", .help =
		"what to boot: bzImage, vmlinux, or an ELF file with a PVH\n"
		"or multiboot entry" },
	{ .name = "initrd", .type = FIELD_PATH, AT(vm_config, initrd), .arg = "FILE",
	  .values = "@file", .help = "initial RAM disk, or a multiboot module" },
	{ .name = "append", .type = FIELD_STRING, AT(vm_config, append), .arg = "TEXT",
	  .help = "the kernel's command line" },
	{ .name = "firmware", .type = FIELD_PATH, AT(vm_config, firmware), .arg = "FILE",
	  .values = "@file", .help = "a ROM that ends at 4 GiB, in place of a kernel" },
	{ .name = "boot", .type = FIELD_CHOICE, AT(vm_config, boot), .values = VM_BOOTS,
	  .arg = "HOW", .help =
		"how to enter the kernel: auto (default), direct\n"
		"(unpack the vmlinux here), bzimage64 or bzimage32\n"
		"(it unpacks itself), elf, pvh, multiboot" },
	{ .name = "disk", LIST(disk, vm_disk, VM_DISKS, disk_fields),
	  .arg = "PATH[,KEY=VALUE]...", .values = "@file", .help =
		"a disk: an image or a block device. format=raw|qcow2\n"
		"(default: what the file is), ro, serial=TEXT, queues=N,\n"
		"cache=writeback|none|writethrough|unsafe,\n"
		"discard=on|off (default on), packed (rings)" },
	{ .name = "net", LIST(net, vm_net, VM_NETS, net_fields),
	  .arg = "SPEC", .values = "user tap: bridge: switch: none", .help =
		"a network card on: user[,forward=HOST:GUEST]...\n"
		"(needs no root), tap:NAME, bridge:NAME, switch:NAME,\n"
		"none; also mac=, mtu=, queues=, packed" },
	{ .name = "pcap", LIST(pcap, vm_file, VM_NETS, file_fields),
	  .arg = "FILE", .values = "@file", .help =
		"write the frames of a network card there; the first\n"
		"--pcap is for the first --net" },
	{ .name = "serial", LIST(serial, vm_where, VM_SERIALS, where_fields),
	  .arg = "WHERE", .values = "terminal console none pty file: unix:", .help =
		"the serial port: terminal (default), none, pty,\n"
		"file:PATH, unix:PATH (a socket), console (what\n"
		"`penta console` shows); a second one is COM2", .create = "console" },
	{ .name = "console", LIST(console, vm_port, VM_CONSOLES, port_fields),
	  .arg = "WHERE[,name=NAME]", .values = "terminal console none pty file: unix:", .help =
		"a virtio console, hvc0 in the guest; WHERE as of --serial;\n"
		"with a name: a channel, /dev/virtio-ports/NAME there" },
	{ .name = "share", LIST(share, vm_share, VM_SHARES, share_fields),
	  .arg = "DIR[,tag=TAG][,ro][,mapped]", .values = "@file", .help =
		"a folder of the host, which the guest mounts by its tag\n"
		"(default: share0, share1...); with ,mapped owners that\n"
		"the guest sets are kept beside the host's" },
	{ .name = "vsock", .type = FIELD_CID, AT(vm_config, vsock), .arg = "CID",
	  .values = "auto off", .help =
		"sockets between host and guest, without a network:\n"
		"the guest's number from 3 on, auto, or off (default)" },
	{ .name = "balloon", .type = FIELD_BOOL, AT(vm_config, balloon), .def = true,
	  .arg = "on|off", .values = "on off", .help =
		"memory that the guest does not use returns to the\n"
		"host (default on)" },
	{ .name = "on-crash", .type = FIELD_CHOICE, AT(vm_config, on_crash),
	  .values = VM_ON_CRASH, .arg = "ACTION",
	  .help = "after a triple fault: exit (default), reset, pause", .live = true },
	{ .name = "sandbox", .type = FIELD_BOOL, AT(vm_config, sandbox), .def = true,
	  .arg = "on|off", .values = "on off", .help =
		"give up all rights and system calls that the machine\n"
		"does not need (default on)" },
	{ .name = "user", .type = FIELD_STRING, AT(vm_config, user), .arg = "NAME|UID[:GID]",
	  .help =
		"whom the machine's process becomes when root starts it\n"
		"(default: a user id that nobody else has)" },
	{ .name = "autostart", .type = FIELD_BOOL, AT(vm_config, autostart), .arg = "on|off",
	  .values = "on off", .help = "start it with the host: see `penta autostart`",
	  .live = true },
	{ .name = "stop-timeout", .type = FIELD_NUMBER, AT(vm_config, stop_timeout), .max = 86400,
	  .def = 60, .arg = "SECONDS",
	  .help = "how long `penta stop` waits for the guest (default 60)", .live = true },
	{ .name = NULL },
};

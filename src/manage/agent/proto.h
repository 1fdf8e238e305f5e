/* SPDX-License-Identifier: GPL-2.0-or-later */
/* proto.h - what the host and the agent in a guest say to each other; docs/agent.md tells it in
 * words. Both sides include this file: guest/agent.c, and on the host agent_session.c.
 *
 * The agent listens on vsock port AGENT_PORT. Each connection begins with a HELLO of both sides, and
 * then either runs one command (EXEC) or serves the machine (CLOCK, SIZE, POWER). It is a stream of
 * frames: an 8-byte header, little-endian, and @len bytes:
 *
 *	u8 type	| u8 stream | u16 0 | u32 len
 *
 * Streams 0, 1, 2 are the command's. Who sends DATA on one may have AGENT_WINDOW bytes on their way,
 * and more as the receiver grants by CREDIT: so a stream that nobody reads holds up neither the others
 * nor signals. */
#ifndef PENTA_MANAGE_AGENT_PROTO_H
#define PENTA_MANAGE_AGENT_PROTO_H

#define AGENT_PORT 1023u
#define AGENT_MAGIC "PENTAGNT"
#define AGENT_VERSION 1u
#define AGENT_HEADER 8u
#define AGENT_DATA_MAX 16384u		/* bytes in a frame of DATA */
#define AGENT_FRAME_MAX 131072u		/* ... of any (EXEC: all arguments) */
#define AGENT_WINDOW 65536u
#define AGENT_ARGS_MAX 4096u		/* strings in an EXEC */

enum agent_type {
	/* Both: "PENTAGNT", u32 version. The smaller version is spoken. First of all. */
	AGENT_HELLO = 1,
	/* Host: u32 flags, u16 rows, u16 cols, u32 nargs, u32 nenv, then NUL-ended strings: working
	 * directory ("": the user's home), user ("": root), arguments, NAME=value. */
	AGENT_EXEC = 2,
	AGENT_STARTED = 3,	/* agent: u32 process id, in the guest */
	AGENT_DATA = 4,		/* both: bytes of the stream */
	AGENT_EOF = 5,		/* both: nothing more on the stream */
	AGENT_CREDIT = 6,	/* both: u32, so many bytes more of the stream are welcome */
	AGENT_SIGNAL = 7,	/* host: u32, to the command's process group */
	AGENT_SIZE = 8,		/* host: u16 rows, u16 cols; of the command's tty, or of the consoles */
	AGENT_EXIT = 9,		/* agent: u32 exit status, or 128 + signal; u32 signal or 0. The last */
	AGENT_ERROR = 10,	/* agent: u32 errno, text. The last */
	/* Host: u64 token. The agent answers with the token and its clock: u64 ns since 1970. */
	AGENT_CLOCK = 11,
	AGENT_ADJUST = 12,	/* host: s64 ns to add to the clock. Answered by u32 errno, 0: done */
	AGENT_POWER = 13,	/* host: u32 enum agent_power. Answered like ADJUST */
};
enum agent_flags { AGENT_TTY = 1 };
enum agent_power { AGENT_POWEROFF = 0, AGENT_REBOOT = 1 };

#endif

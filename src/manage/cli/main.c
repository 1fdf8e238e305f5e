/* SPDX-License-Identifier: GPL-2.0-or-later */
/* main.c - the command line: finds the verb and hands over. */
#include <stdio.h>

int main(int argc, char **argv)
{
	fprintf(stderr, "penta: no verb %s\n", argc > 1 ? argv[1] : "given");
	return 2;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unit.h - what all unit tests include: cmocka and the headers it needs. */
#ifndef PENTA_TESTS_UNIT_H
#define PENTA_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#endif

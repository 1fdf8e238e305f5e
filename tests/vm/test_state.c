/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Declared state: ranges, arrays, structs within structs; a vCPU's power-on state is in range. */
#include "unit.h"
#include "base/bytes.h"
#include "vm/clock.h"
#include "vm/cpu_state.h"
#include <errno.h>

struct sub { u16 a; bool b[3]; };
struct obj {
	u8 mode;
	u32 count[4];
	s64 delta;
	struct sub one, many[2];
	struct vm_timer timer;
	u8 raw[5];
	u64 any;
};
static const struct state_field sub_fields[] = {
	STATE_U16(struct sub, a, 1, 9),
	STATE_BOOL_ARRAY(struct sub, b),
	STATE_END
};
static const struct state_field fields[] = {
	STATE_U8(struct obj, mode, 0, 5),
	STATE_U32_ARRAY(struct obj, count, 10, 20),
	STATE_F_(struct obj, delta, ST_S64, 1, 8, (u64)-5, 5, NULL),
	STATE_STRUCT(struct obj, one, sub_fields),
	STATE_STRUCT_ARRAY(struct obj, many, sub_fields),
	STATE_TIMER(struct obj, timer),
	STATE_BYTES(struct obj, raw),
	STATE_U64(struct obj, any),
	STATE_END
};

static struct obj good(void)
{
	struct obj o = { .mode = 5, .count = { 10, 20, 15, 11 }, .delta = -5, .any = UINT64_MAX };

	o.one.a = o.many[0].a = o.many[1].a = 9;
	memset(o.raw, 0xff, sizeof(o.raw));
	return o;
}

#define BAD(change, text) do { \
	struct obj o = good(); struct err e = { 0 }; \
	assert_int_equal(state_check(fields, &o, "dev", &e), 0); \
	change; \
	assert_int_equal(state_check(fields, &o, "dev", &e), -EINVAL); \
	assert_non_null(strstr(e.msg, text)); } while (0)

static void ranges(void **st)
{
	BAD(o.mode = 6, "dev.mode is 0x6");
	BAD(o.count[3] = 9, "dev.count[3] is 0x9; allowed is 0xa to 0x14");
	BAD(o.count[0] = UINT32_MAX, "dev.count[0]");
	BAD(o.delta = -6, "dev.delta is -6; allowed is -5 to 5");
	BAD(o.delta = 6, "dev.delta");
	BAD(o.one.a = 0, "dev.one.a");
	BAD(o.many[1].a = 10, "dev.many[1].a");
	BAD(((u8 *)&o.many[1].b)[2] = 2, "dev.many[1].b[2]");
}

static void power_on(void **st)
{
	struct cpu_state s;
	struct err e = { 0 };

	memset(&s, 0xaa, sizeof(s));
	cpu_state_reset(&s);
	assert_int_equal(state_check(cpu_state_fields, &s, "vcpu0", &e), 0);
	assert_int_equal(s.seg[SEG_CS].base + s.rip, 0xfffffff0u);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.rflags, 2);
	assert_int_equal(get_le32(s.xsave + 24), 0x1f80);
	((u8 *)&s.sti_shadow)[0] = 2;
	assert_int_equal(state_check(cpu_state_fields, &s, "vcpu0", &e), -EINVAL);
	cpu_state_reset(&s);
	s.activity = 4;
	assert_int_equal(state_check(cpu_state_fields, &s, "vcpu0", &e), -EINVAL);
	cpu_state_reset(&s);
	s.cr8 = 16;
	assert_int_equal(state_check(cpu_state_fields, &s, "vcpu0", &e), -EINVAL);
}

/* Every byte of struct cpu_state but padding is covered by exactly one field. */
static void cover(const struct state_field *t, size_t base, u8 *map)
{
	static const u8 width[] = { [ST_BOOL] = 1, [ST_U8] = 1, [ST_U16] = 2, [ST_U32] = 4,
				    [ST_U64] = 8, [ST_S64] = 8, [ST_BYTES] = 1 };

	for (; t->type != ST_END; t++)
		for (u32 i = 0; i < t->count; i++) {
			size_t at = base + t->offset + i * t->stride;

			if (t->type == ST_STRUCT) {
				cover(t->sub, at, map);
				continue;
			}
			for (unsigned k = 0; k < width[t->type]; k++)
				assert_int_equal(map[at + k]++, 0);
		}
}

static void complete(void **st)
{
	static u8 map[sizeof(struct cpu_state)];
	unsigned holes = 0;

	cover(cpu_state_fields, 0, map);
	for (size_t i = 0; i < sizeof(map); i++)
		holes += !map[i];
	/* gdtr, idtr: 6 bytes each; before event_error and at the end: less than 8 */
	assert_in_range(holes, 12, 12 + 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges), cmocka_unit_test(power_on), cmocka_unit_test(complete),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}

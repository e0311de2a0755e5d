/* The fuzz target without a fuzzer: every good packet, and some ten thousand mutants of them, the
 * same ones in each run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt_samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t state;

static uint32_t next_random(uint32_t below)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
}

/* One or two packets behind the three bytes that choose how they are read. */
static size_t pick(uint8_t *out)
{
    size_t n = 3;

    for (uint32_t k = next_random(2) + 1; k != 0; k--) {
        uint32_t i = next_random((uint32_t)(samples_count + odd_samples_count));

        n += sample_bytes(i < samples_count ? samples[i].text : odd_samples[i - samples_count].text,
                          out + n);
    }
    for (size_t i = 0; i < 3; i++)
        out[i] = (uint8_t)next_random(256);
    return n;
}

static size_t mutate(uint8_t *p, size_t n)
{
    static const uint8_t interesting[] = {0,   1,   2,    3,    0x26, 0x2B, '#',
                                          '+', '/', 0x7F, 0x80, 0xC3, 0xFF};
    size_t at = 3 + next_random((uint32_t)(n - 3));

    switch (next_random(5)) {
    case 0:
        p[at] ^= (uint8_t)(1u << next_random(8));
        return n;
    case 1:
        p[at] = interesting[next_random(sizeof interesting)];
        return n;
    case 2: /* take one out */
        memmove(p + at, p + at + 1, n - at - 1);
        return n - 1 > 3 ? n - 1 : n;
    case 3: /* put one in */
        memmove(p + at + 1, p + at, n - at);
        p[at] = interesting[next_random(sizeof interesting)];
        return n + 1;
    default: /* up or down by one, as lengths like it */
        p[at] = (uint8_t)(p[at] + (next_random(2) != 0 ? 1 : -1));
        return n;
    }
}

static void good_packets_hold(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < samples_count + odd_samples_count; i++) {
        const char *text =
            i < samples_count ? samples[i].text : odd_samples[i - samples_count].text;

        for (unsigned way = 0; way < 16; way++) {
            uint8_t bytes[SAMPLE_MAX_BYTES + 3] = {(uint8_t)way, 3, 1};
            size_t n = 3 + sample_bytes(text, bytes + 3);

            assert_int_equal(LLVMFuzzerTestOneInput(bytes, n), 0);
        }
    }
}

static void mutants_hold(void **unused)
{
    (void)unused;
    state = 1;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[2 * SAMPLE_MAX_BYTES + 16];
        size_t n = pick(bytes);

        for (uint32_t k = next_random(4) + 1; k != 0; k--)
            n = mutate(bytes, n);
        assert_int_equal(LLVMFuzzerTestOneInput(bytes, n), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_packets_hold),
        cmocka_unit_test(mutants_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

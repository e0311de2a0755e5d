/* base/str.h - the few things about strings that libc does not have.  Pure, any thread. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed run of bytes; not NUL-terminated, may hold NULs. */
struct slice {
    const uint8_t *p;
    size_t n;
};

#define SLICE_FMT    "%.*s"
#define SLICE_ARG(s) (int)(s).n, (const char *)(s).p

struct slice slice_of(const char *s); /* borrows; NULL gives the empty slice */
bool slice_eq(struct slice a, struct slice b);
bool slice_is(struct slice a, const char *s);

/* Does `text` match the glob `pattern`?  '*' any run, '?' one byte, '[a-z]' a set, '\' quotes.
 * Linear in time times the number of stars; no recursion. */
bool str_glob(const char *pattern, const char *text);
bool str_has_glob(const char *s); /* holds an unquoted * ? or [ */

/* Levenshtein distance, at most `bound` + 1.  Strings whose difference spans more than 255 bytes on
 * both sides count as beyond the bound. */
unsigned str_distance(const char *a, const char *b, unsigned bound);

/* snprintf into fresh memory.  Returns owned, or NULL when out of memory. */
char *str_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Lower-case hex of n bytes into out (2n + 1 bytes). */
void str_hex(char *out, const uint8_t *p, size_t n);
/* What a hex digit of either case stands for, or -1. */
int str_hex_digit(char c);
/* Hex (either case, optional ':' between bytes) to exactly n bytes.  Returns 0 or -ERR_SYNTAX. */
int str_unhex(const char *s, uint8_t *out, size_t n);

/* A device, gateway or profile name: 1..128 of [A-Za-z0-9._-], not starting with '.' or '-'. */
bool str_is_name(const char *s);

/* How many bytes (1..4) the well-formed UTF-8 character at p takes; 0 when there is none within n
 * bytes. */
size_t str_utf8_step(const uint8_t *p, size_t n);

/* Well-formed UTF-8 without U+0000 and surrogates [MQTT-1.5.4-1, -2]. */
bool str_is_utf8(const uint8_t *p, size_t n);

/* Make it one line of valid UTF-8: control characters become blanks, what is no character a '?'. */
void str_tidy(char *s);

#endif

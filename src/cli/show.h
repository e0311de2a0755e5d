/* cli/show.h - answers of the daemon as text for people.  Pure: JSON in, text out.
 *
 * The objects are those of control/rpc.h.  What is missing in one is left out, never an error: a
 * daemon of another version may know more, or less.
 */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json_t; /* jansson's; borrowed throughout */

struct show {
    FILE *to;
    bool colour;
    int64_t now_s; /* wall clock: what has expired, and how long things are */
    size_t width;  /* of the terminal; 0: it is none, and lines are as long as they are */
};

void show_status(const struct show *s, const struct json_t *status);
void show_devices(const struct show *s, const struct json_t *devices); /* the array */
void show_device(const struct show *s, const struct json_t *device);
void show_sessions(const struct show *s, const struct json_t *sessions, int64_t total);
void show_levels(const struct show *s, struct json_t *levels);
void show_anchors(const struct show *s, const struct json_t *anchors); /* the array */
void show_anchors_added(const struct show *s, const struct json_t *result);
void show_anchor_removed(const struct show *s, const struct json_t *result);
void show_dependents(const struct show *s, const struct json_t *result); /* of trust.check */
void show_audit(const struct show *s, const struct json_t *entries);
void show_crls(const struct show *s, const struct json_t *crls);      /* of crl.list */
void show_crl_update(const struct show *s, const struct json_t *row); /* of crl.update */
void show_reload(const struct show *s, const struct json_t *result);

/* What an identity that was installed is. */
void show_installed(const struct show *s, const struct json_t *answer);

/* Row after row of an OUTCOME's "devices": what became of each, remedies included. */
void show_outcome(const struct show *s, const struct json_t *rows);

/* "flip: message" and the remedy below it, then faults of a configuration. */
void show_error(const struct show *s, const char *what, const struct json_t *error);

/* "trial, waits for its turn": a device's phase and what it waits for, in a few words. */
void show_phase(const struct json_t *device, char *out, size_t n);

/* The same of a device on its way: how long it has still, instead of until when, and what is to be
 * proven yet. */
void show_progress(const struct json_t *device, int64_t now_s, char *out, size_t n);
/* "echo, confirmation": what the connection that stands has yet to prove; "" for nothing. */
void show_missing(const struct json_t *device, char *out, size_t n);

/* "3 d 4 h", "5 min", of a number of seconds. */
const char *show_span(int64_t s, char *out, size_t n);

/* "2031-05-02T00:00:00Z" to wall clock; -1 when it is none. */
int64_t show_parse_time(const char *iso);

#endif

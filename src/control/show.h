/* control/show.h - what the hub knows, as the JSON of rpc.h.  Each returns owned, NULL when out of
 * memory.  Main thread. */
#ifndef CONTROL_SHOW_H
#define CONTROL_SHOW_H

#include "control/hub.h"

struct json_t;
struct tls_anchor;
struct trust_dependent;
struct trust_item;

struct json_t *show_device(const struct hub *h, const struct hub_device *d);
/* BRIEF, and a hash that is another one when it says something else. */
struct json_t *show_brief(const struct hub *h, const struct hub_device *d);
uint64_t show_brief_hash(const struct hub *h, const struct hub_device *d);
struct json_t *show_slot(const struct hub *h, const struct hub_device *d,
                         enum flip_slot slot); /* SLOT */
struct json_t *show_session(const struct hub_device *d, const struct hub_session *s);
struct json_t *show_sessions(const struct hub_device *d);
struct json_t *show_counts(const struct hub *h);  /* "devices" of status */
struct json_t *show_exceptions(struct hub *h);    /* "exceptions" of status */
struct json_t *show_old_tls(const struct hub *h); /* "old_tls" of status */
struct json_t *show_clock(const struct hub *h);   /* "clock" of status */
struct json_t *show_pace(const struct hub *h);    /* "pace" of status */
struct json_t *show_stats(const struct hub *h);   /* "counters" of status */
struct json_t *show_refused(const struct hub *h); /* "refused" of status */
struct json_t *show_event(const struct hub_event *ev);
/* "clock" of the retained state: what of it does not change by itself. */
struct json_t *show_clock_state(const struct hub *h);
/* Of the count of events: "5f3a9c0b12de". */
struct json_t *show_epoch(int64_t epoch);

/* show_trust.c */
struct json_t *show_anchor(const struct hub *h, const struct trust_item *item);
struct json_t *show_place(const struct tls_anchor *a); /* "ca.pem:2" */
struct json_t *show_dependent(const struct trust_dependent *d);
struct json_t *show_trust(const struct hub *h);    /* "trust" of status */
struct json_t *show_in_force(const struct hub *h); /* "trust" of the retained state */
/* What is wrong with anchors, for "messages" of status: appended. */
void show_trust_messages(const struct hub *h, struct json_t *list);

/* What a trial waits for: a word of rpc.h, or NULL. */
const char *show_waiting(const struct hub_device *d);

#endif

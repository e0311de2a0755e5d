/* fleet/gather.h - the fleet as it is at this moment, for commands that look once: a link, a view
 * that it fills, and questions to gateways.
 *
 * Blocks until there is what was asked for; one thread.
 */
#ifndef FLEET_GATHER_H
#define FLEET_GATHER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fleet/campaign.h"
#include "fleet/link.h"
#include "fleet/view.h"

struct json_t;
struct gather_ask;

struct gather {
    const struct campaign *campaign;   /* borrowed */
    const volatile sig_atomic_t *stop; /* borrowed */
    struct link *link;
    struct view view;
    bool down;         /* the connection was lost, or could not be made */
    size_t bad;        /* messages that could not be taken */
    char bad_one[508]; /* the first of them */
    char denied[508];  /* what the broker does not allow; "": nothing */
    struct gather_ask *asks;
    size_t ask_count;
};

/* What the campaign says of the way to the broker; borrows from it. */
void gather_link_conf(const struct campaign *c, struct link_conf *out);

/* Ready to connect.  `with_devices`: their topics are wanted, too.  Returns 0, or a negative code
 * with err; to be ended in both cases. */
int gather_init(struct gather *g, const struct campaign *c, const volatile sig_atomic_t *stop,
                bool with_devices, struct err *err);
void gather_fini(struct gather *g);

/* Connect, and wait until all that is retained is in the view.  -ERR_CLOSED: the broker cannot be
 * reached; -ERR_DENIED: it does not let us; -ERR_BUSY: an operator has interrupted it. */
int gather_wait(struct gather *g, struct err *err);

/* One question. */
struct gather_ask {
    const char *gateway, *method, *params; /* borrowed; params may be NULL */
    struct json_t *reply;                  /* owned: the whole reply; NULL: none has come */
    int64_t sent_ms, came_ms;              /* wall clock */
    int64_t due_ms;                        /* CLOCK_BOOTTIME: given up then */
    char refused[508];                     /* the broker would not take it; "": it has */
    char id[48];
    bool sent;
};

/* Ask them all, many at once, and wait up to `timeout_s` for each reply.  The questions only
 * observe: after a lost connection they are asked again.  Returns 0 also where some were not
 * answered; else as gather_wait. */
int gather_ask(struct gather *g, struct gather_ask *asks, size_t n, unsigned timeout_s,
               struct err *err);
void gather_ask_fini(struct gather_ask *asks, size_t n);

#endif

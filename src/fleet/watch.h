/* fleet/watch.h - a campaign's progress while it goes on, before somebody's eyes.
 *
 * On a terminal a few lines that are drawn anew in place, only those that have changed, so that a
 * slow link keeps up; elsewhere a line when something has changed.  What is to be seen comes from
 * the ledger, so that `watch` beside and `run` itself show the same.  One thread.
 */
#ifndef FLEET_WATCH_H
#define FLEET_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/show.h"
#include "fleet/campaign.h"
#include "fleet/command.h"
#include "fleet/ledger.h"

struct watch;

/* `c` is borrowed and outlives it.  `live`: out->to is a terminal, and is drawn on.  Returns owned,
 * or NULL without memory. */
struct watch *watch_new(const struct show *out, bool live, const struct campaign *c);
/* Leaves the last picture where it is; NULL is fine. */
void watch_free(struct watch *w);

/* Show what the ledger says now.  May be called as often as one likes, but not within a group: it
 * reads at most once a second, and never spends more than a tenth of the time.  Returns 0, or what
 * reading the ledger said. */
int watch_show(struct watch *w, struct ledger *l, int64_t now_s, struct err *err);

/* The same at once: how it is at the end. */
int watch_last(struct watch *w, struct ledger *l, int64_t now_s, struct err *err);

/* Write lines for good, above the picture: what `run` tells of events.  `watch` shows the latest of
 * the diary below it instead.  On a terminal they come with the next picture. */
void watch_lines(struct watch *w, const char *text, size_t n);

/* One picture of `width` columns and at most `height` lines, for tests; plain. */
struct overview;
struct pace;
void watch_picture(const struct overview *o, const struct pace *p, const struct campaign *c,
                   const struct show *out, size_t height, bool unicode);

/* `certflip-fleet watch FILE`: until the campaign has ended, or an interrupt. */
enum fleet_status watch_command(const struct fleet_command *c, struct err *err);

#endif

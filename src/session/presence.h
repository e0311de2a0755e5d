/* session/presence.h - how many sessions a device has in the whole process, and what the latest of
 * them leaves to the next one.
 *
 * Workers share nothing but messages, and one that lets a device in must not wait for another to
 * say whether it has the device, too; so this is shared for each device.  Atomic, or behind a lock
 * that is taken when a session begins or ends; reference counted; any thread.
 */
#ifndef SESSION_PRESENCE_H
#define SESSION_PRESENCE_H

#include <stdbool.h>
#include <stdint.h>

struct presence;
struct subs;

/* What is known of a session that a device takes up again. */
enum presence_legacy {
    LEGACY_UNKNOWN, /* nothing: it may have subscriptions */
    LEGACY_KNOWN,   /* its subscriptions */
    LEGACY_VOID,    /* the broker has lost it, and has an empty one in its place */
};

struct presence *presence_new(void);               /* owned or NULL */
struct presence *presence_ref(struct presence *p); /* NULL gives NULL */
void presence_unref(struct presence *p);           /* NULL is fine */

/* A session begins.  Returns how many there were; 0 for NULL. */
unsigned presence_enter(struct presence *p);
void presence_leave(struct presence *p);
/* A session with that client id (a digest of it) ends, and may be taken up again.  Takes the
 * subscriptions, and leaves an empty list. */
void presence_bequeath(struct presence *p, uint64_t client, enum presence_legacy what,
                       struct subs *subs);
/* It is taken up, or begun anew.  What there is goes into `subs`, which is empty, and is gone. */
enum presence_legacy presence_inherit(struct presence *p, uint64_t client, struct subs *subs);
unsigned presence_count(struct presence *p); /* 0 for NULL */

/* Somebody, on whatever worker, is about to say CONNECT at this home (greet_home()) for the device.
 * Returns the number of it, for the call below; 0 for NULL. */
uint64_t presence_dial(struct presence *p, uint32_t home);
/* Has anybody else been, since that number was given, as far as the latest dials of the device are
 * known?  Whoever clears what the device left asks it when its leg is marked as parting, and the
 * other one looks for such legs after it has dialled: so one of the two sees the other. */
bool presence_dialled_since(struct presence *p, uint32_t home, uint64_t number);

/* An upstream leg of an ended session still has packets on their way to the broker there, which
 * would not read them if a CONNECT took its session over meanwhile.  The first takes a reference,
 * which the second gives back. */
void presence_part(struct presence *p, uint32_t home);
void presence_parted(struct presence *p, uint32_t home);  /* NULL is fine */
bool presence_parting(struct presence *p, uint32_t home); /* is there such a leg?  NULL: no */

#endif

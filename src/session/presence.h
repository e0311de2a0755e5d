/* session/presence.h - how many sessions a device has in the whole process.
 *
 * Workers share nothing but messages, and one that lets a device in must not wait for another to
 * say whether it has the device, too; so this one number per device is shared.  Atomic, reference
 * counted; any thread.
 */
#ifndef SESSION_PRESENCE_H
#define SESSION_PRESENCE_H

struct presence;

struct presence *presence_new(void);               /* owned or NULL */
struct presence *presence_ref(struct presence *p); /* NULL gives NULL */
void presence_unref(struct presence *p);           /* NULL is fine */

/* A session begins.  Returns how many there were; 0 for NULL. */
unsigned presence_enter(struct presence *p);
void presence_leave(struct presence *p);
unsigned presence_count(struct presence *p); /* 0 for NULL */

#endif

/* flip/differ.h - is it the identity?  The differential test of a device's new identity.
 *
 * A broker may refuse without a word (MQTT 3.1.1, 3.1.4 and 5.0, 3.1.4 allow it, TLS 1.3 makes it
 * likely), and a bad link looks the same.  So after an end that nobody explained the other identity
 * is tried, on a connection of its own, as far as the new one came:
 *
 *   the other one fails alike    not the identity; all that was held against it is forgotten
 *   the other one gets through   held against the new one, which is tried again
 *
 * What the broker said in words is settled by one such round; an end in silence takes DIFFER_ROUNDS
 * in a row, each with another try between, since a link may lose any single connection.
 *
 * Pure: no clock, no I/O.  Plain data, one for each device and thread.
 */
#ifndef FLIP_DIFFER_H
#define FLIP_DIFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "flip/diagnose.h"

/* How far the new identity came, and the other one has to come. */
enum differ_far {
    DIFFER_TLS,     /* TLS, as far as one can know accepted */
    DIFFER_CONNACK, /* CONNACK 0 */
    DIFFER_STANDS,  /* accepted, and the connection stands differ_stand_ms long */
};

enum { DIFFER_ROUNDS = 3 };

/* A connection that was accepted is compared with the other identity's when it ended by then. */
#define DIFFER_EARLY_MS 120000u

struct differ {
    uint8_t rounds; /* in a row: the new identity failed, the other one got as far */
    uint8_t early;  /* connections of the new identity in a row that were accepted and ended early
                     */
};

/* An attempt with the new identity failed; or (DIFFER_STANDS) its connection ended lived_ms after
 * it had been accepted.  Returns true when the other identity has to be tried `far`. */
bool differ_failed(struct differ *x, const struct diag *d, enum differ_far far, uint64_t lived_ms);

/* The other identity came as far.  Returns true when that settles it: it is the identity. */
bool differ_other_works(struct differ *x, const struct diag *d, enum differ_far far);

/* The other identity failed, too, or its connection did not stand: it is not the identity. */
void differ_other_fails(struct differ *x);

/* The new identity was accepted. */
void differ_accepted(struct differ *x);

/* How long the other identity's connection has to stand, where the new one's ended after lived_ms.
 */
uint64_t differ_stand_ms(uint64_t lived_ms);

/* The diagnosis of what differ_other_works has settled, `d` being that of the latest failure. */
struct diag differ_verdict(const struct diag *d, enum differ_far far);

#endif

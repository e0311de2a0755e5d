/* session/suspect.h - the differential test (flip/differ.h) in a session: what the new identity met
 * with, while the old one is tried.  The counts are the device's, so that they outlive a session
 * that is short.  Worker's thread.
 */
#ifndef SESSION_SUSPECT_H
#define SESSION_SUSPECT_H

#include "flip/differ.h"
#include "session/session.h"

struct suspicion {
    struct diag diag; /* of the new identity's latest failure */
    enum differ_far far;
    uint64_t lived_ms; /* DIFFER_STANDS: how long its connection stood */
};

/* The new identity, being the active one, failed (far: as far as it came).  Returns true when the
 * old one has to be tried: s->probing. */
bool suspect_raise(struct session *s, const struct diag *d, enum differ_far far, uint64_t lived_ms);

/* The old identity came as far; ends the probing.  Returns true, and fills *out, when that settles
 * it; else *out is the diagnosis by whose waits the new one is tried again. */
bool suspect_works(struct session *s, struct diag *out);

/* The old identity failed, too; ends the probing, *out says so of the new one. */
void suspect_fails(struct session *s, struct diag *out);

/* Main has decided anew, or the session ends. */
void suspect_drop(struct session *s);

#endif

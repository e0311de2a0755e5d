/* session/blame.h - why an upstream leg failed or ended.  Worker's thread. */
#ifndef SESSION_BLAME_H
#define SESSION_BLAME_H

#include "session/session.h"

struct diag blame_leg(const struct session *s, const struct leg *leg, const struct leg_end *end);
/* A deadline of ours passed in the present phase. */
struct diag blame_timeout(const struct session *s, const struct leg *leg);

#endif

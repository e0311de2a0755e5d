/* session/upstream_inside.h - what the files about a session's upstream legs share:
 *
 * upstream.c  carries out what session/rehome.h decides, step by step; deadlines
 * dial.c      dials the candidate and the spare, through the gate
 * upleg.c     what an upstream leg tells: it is up, it has data, it ended
 * connack.c   CONNECT on the candidate, and the broker's answer
 * adopt.c     the candidate becomes the leg in use, and main is told of it
 * verdict.c   an attempt failed, or the leg was lost: whose fault, and what next
 * leave.c     leaving the old leg, a broker, and the world
 *
 * For these files alone.  Each function may end the session, unless it returns something that is
 * known, or tells: look at s->state afterwards.  Worker's thread.
 */
#ifndef SESSION_UPSTREAM_INSIDE_H
#define SESSION_UPSTREAM_INSIDE_H

#include "session/session.h"

#define REASON_NORMAL             0x00
#define REASON_SERVER_UNAVAILABLE 0x88 /* in CONNACK only */

/* What an action may want to know about the step that it belongs to. */
struct occasion {
    enum rehome_event ev;
    enum rehome_phase was;
    unsigned todo;
    const struct diag *why; /* never NULL where something failed or was lost */
};

/* ---- upstream.c ---- */

/* Something happened.  `why` is borrowed; not NULL where something failed or was lost. */
void upstream_step(struct session *s, enum rehome_event ev, const struct diag *why);
void upstream_due_in(struct session *s, uint32_t ms); /* the present step's bound; never ends s */

/* ---- dial.c ---- */

/* Before a retry: where the gate is not open, it waits there.  Never ends s. */
bool upstream_waits_at_gate(struct session *s);
enum flip_slot upstream_wanted(const struct session *s); /* whose leg is to be had */
void upstream_dial(struct session *s);                   /* a candidate of that slot */
void upstream_dial_spare(struct session *s);             /* the way back */

/* ---- upleg.c ---- */

extern const struct leg_ops upstream_leg_ops;

/* The candidate, or the spare, is as good as accepted in TLS. */
void upstream_leg_is_up(struct session *s, const struct leg *leg);
void upstream_cand_failed(struct session *s, const struct diag *why);
void upstream_cannot_spare(struct session *s, const struct diag *why);

/* ---- connack.c ---- */

bool upstream_said_connect(enum rehome_phase phase); /* on the candidate */
void upstream_send_connect(struct session *s);       /* never ends s */
void upstream_take_connack(struct session *s, const struct mqtt_packet *pkt);
/* Is the candidate accepted, and the old leg still to be read to its end? */
bool upstream_awaits_old_end(const struct session *s);
void upstream_old_has_ended(struct session *s); /* or had time enough to */

/* ---- adopt.c ---- */

void upstream_adopt(struct session *s);
/* Tell main about a leg; never ends s. */
void upstream_tell(struct session *s, struct session_leg_news *news);
/* Is the leg in use that of an identity that has to prove itself? */
bool upstream_on_probation(const struct session *s);
/* Then its acceptance is told when it has answered a PINGREQ.  Copies *news, and borrows what that
 * borrows: the leg's. */
void upstream_tell_when_it_answers(struct session *s, struct session_leg_news *news);
void upstream_forget_news(struct session *s); /* another leg's answer says nothing of this one */

/* ---- verdict.c ---- */

void upstream_tell_trouble(struct session *s, bool lost, enum flip_slot slot,
                           const struct cred *cred, const struct diag *d);
void upstream_report_lost(struct session *s, const struct occasion *o);
void upstream_report_failed(struct session *s, const struct occasion *o);
void upstream_wait(struct session *s, const struct occasion *o);
void upstream_other_works(struct session *s); /* the other identity came as far; never ends s */
void upstream_retry_later(struct session *s, enum diag_class class); /* by backoff */
void upstream_refuse_first(struct session *s, const struct diag *why);
void upstream_end_of_the_dead(struct session *s);
bool upstream_other_usable(const struct session *s);
bool upstream_may_fall_back(const struct session *s, enum diag_class class);

/* ---- leave.c ---- */

bool upstream_must_leave(const struct session *s);
bool upstream_has_moved(const struct session *s);
bool upstream_was_taken_over(struct session *s);
void upstream_close_old(struct session *s, bool accepted, bool left);
/* What a former slot's broker may hold of the session that has moved; never ends s. */
void upstream_clear_former(struct session *s, enum flip_slot former, bool present);

#endif

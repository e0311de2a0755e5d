/* session/rehome.h - moving a session to another upstream leg: which step follows, and what has to
 * be done.
 *
 * One mechanism for the first connection, planned flips, rollbacks and lost uplinks.  The order of
 * packets that loses nothing is in this table alone: a candidate that is proven before the old leg
 * is let go of, drained, and then either a PINGREQ barrier and CONNECT, which takes over, or
 * DISCONNECT, the broker's end of the old leg, and CONNECT.  Either way costs two round trips.
 *
 * Who says DISCONNECT first has no leg while CONNECT is out.  So before that a third connection,
 * the spare, is brought up with the identity in use: it says CONNECT only when the candidate fails.
 *
 * Pure: no clock, no I/O, no allocation.  The caller turns what happened into one event, and
 * carries out the returned actions in bit order.
 */
#ifndef SESSION_REHOME_H
#define SESSION_REHOME_H

enum rehome_phase {
    RH_IDLE,         /* one accepted leg, or none wanted */
    RH_WAITING,      /* no leg; the next attempt is due later */
    RH_DIALING,      /* the old leg carries traffic, the candidate comes up to TLS */
    RH_DIALING_LOST, /* no old leg, the candidate comes up */
    RH_SPARING,      /* as DIALING; the candidate is up, and the spare comes up */
    RH_DRAINING, /* the device's new packets are held; exchanges under way finish on the old leg */
    RH_BARRIER, /* PINGREQ on the old leg: everything sent there has been processed once PINGRESP is
                   here */
    RH_LEAVING, /* DISCONNECT on the old leg (there is a Will to be kept quiet), its EOF is awaited
                 */
    RH_SWITCHING,      /* CONNECT on the candidate; the old leg is alive still */
    RH_SWITCHING_LOST, /* CONNECT on the candidate; there is no other leg */
    RH_PHASES,
};

enum rehome_event {
    RH_EV_WANT,              /* go to the wanted identity: open, flip, rollback, reconnect */
    RH_EV_CANCEL,            /* the identity in use is the wanted one after all; LEAVING: and the
                                spare has it */
    RH_EV_CAND_UP,           /* the candidate's TLS is up and, as far as one can know, accepted */
    RH_EV_CAND_UP_LEAVE,     /* the same, and the old leg will have to say DISCONNECT first */
    RH_EV_CAND_FAILED,       /* the candidate ended, was refused or took too long, at any point */
    RH_EV_CAND_FAILED_SPARE, /* the same, the old leg has been let go of, and the spare is there */
    RH_EV_SPARE_UP,          /* the spare's TLS is up, as the candidate's */
    RH_EV_SPARE_NONE,        /* there is no spare (any more), and the session goes on without one */
    RH_EV_SPARE_FAILED,      /* the same, and the old leg is not let go of without one */
    RH_EV_OLD_LOST,          /* the leg in use ended */
    RH_EV_DRAINED,           /* nothing is in flight, or the bound is reached */
    RH_EV_DRAINED_LEAVE,     /* the same, and the old leg must say DISCONNECT first */
    RH_EV_CLEAR,             /* PINGRESP came, or the bound is reached */
    RH_EV_TIMEOUT,           /* LEAVING: the old leg's EOF did not come in time */
    RH_EV_RETRY,             /* WAITING is over */
    RH_EV_ACCEPTED,          /* CONNACK 0 on the candidate */
    RH_EVENTS,
};

/* In the order in which they are carried out. */
enum rehome_do {
    RH_DO_REPORT_LOST = 1 << 0,   /* tell: the accepted leg is gone */
    RH_DO_REPORT_FAILED = 1 << 1, /* tell: the candidate failed, with its diagnosis */
    RH_DO_HOLD = 1 << 2,          /* stop passing the device's packets on */
    RH_DO_DROP_SPARE = 1 << 3,    /* close the spare, if there is one */
    RH_DO_DROP_CAND = 1 << 4,     /* close the candidate */
    RH_DO_CLOSE_OLD = 1 << 5,     /* close the old leg */
    RH_DO_DIAL = 1 << 6,          /* start a candidate with the wanted identity */
    RH_DO_DIAL_SPARE = 1 << 7,    /* start a spare with the identity in use */
    RH_DO_TAKE_SPARE = 1 << 8,    /* the spare is the candidate from here on */
    RH_DO_DRAIN = 1 << 9,         /* wait for in-flight exchanges, bounded */
    RH_DO_PING = 1 << 10,         /* PINGREQ on the old leg, bounded wait */
    RH_DO_DISCONNECT = 1 << 11,   /* DISCONNECT on the old leg, bounded wait for its EOF */
    RH_DO_CONNECT = 1 << 12,      /* CONNECT on the candidate, bounded wait for CONNACK */
    RH_DO_ADOPT = 1 << 13,        /* the candidate is the leg now: restore state, replay, tell */
    RH_DO_RELEASE = 1 << 14,      /* pass the device's packets on again */
    RH_DO_WAIT = 1 << 15, /* arm the retry by backoff, or give up where there is no session yet */
};

/* Returns the actions and moves *phase; an event without meaning in the phase changes nothing and
 * returns 0. */
unsigned rehome_step(enum rehome_phase *phase, enum rehome_event ev);

const char *rehome_phase_name(enum rehome_phase phase); /* "draining" */
const char *rehome_event_name(enum rehome_event ev);    /* "cand-up" */

#endif

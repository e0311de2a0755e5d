/* The arrows follow from three rules:
 *  - while the old leg lives, any failure of the candidate means that the traffic goes on as
 * before;
 *  - the old leg is only let go of on purpose (LEAVING, with a spare at hand) or by the broker (it
 * accepted the candidate);
 *  - without any leg the device is held, and attempts go on until one is accepted or the device
 * leaves.
 */
#include "session/rehome.h"

#include <stddef.h>

struct rule {
    enum rehome_phase next;
    unsigned actions; /* 0 and next = the same phase: nothing happens */
};

/* clang-format off */
#define GO(phase, actions) { RH_##phase, (actions) }

/* The candidate is given up and the old leg carries on. */
#define BACK GO(IDLE, RH_DO_REPORT_FAILED | RH_DO_DROP_CAND | RH_DO_RELEASE)
/* The candidate is given up and there is nothing to go back to at once. */
#define NONE GO(WAITING, RH_DO_REPORT_FAILED | RH_DO_DROP_CAND | RH_DO_WAIT)

static const struct rule rules[RH_PHASES][RH_EVENTS] = {
    [RH_IDLE] = {
        [RH_EV_WANT]              = GO(DIALING,        RH_DO_DIAL),
        [RH_EV_OLD_LOST]          = GO(WAITING,        RH_DO_REPORT_LOST | RH_DO_HOLD | RH_DO_CLOSE_OLD | RH_DO_WAIT),
    },
    [RH_WAITING] = {
        [RH_EV_WANT]              = GO(DIALING_LOST,   RH_DO_DIAL),
        [RH_EV_RETRY]             = GO(DIALING_LOST,   RH_DO_DIAL),
    },
    [RH_DIALING] = {
        [RH_EV_WANT]              = GO(DIALING,        RH_DO_DROP_CAND | RH_DO_DIAL),
        [RH_EV_CANCEL]            = GO(IDLE,           RH_DO_DROP_CAND),
        [RH_EV_CAND_UP]           = GO(DRAINING,       RH_DO_HOLD | RH_DO_DRAIN),
        [RH_EV_CAND_UP_LEAVE]     = GO(SPARING,        RH_DO_DIAL_SPARE),
        [RH_EV_CAND_FAILED]       = GO(IDLE,           RH_DO_REPORT_FAILED | RH_DO_DROP_CAND),
        [RH_EV_OLD_LOST]          = GO(DIALING_LOST,   RH_DO_REPORT_LOST | RH_DO_HOLD | RH_DO_CLOSE_OLD),
    },
    [RH_DIALING_LOST] = {
        [RH_EV_WANT]              = GO(DIALING_LOST,   RH_DO_DROP_CAND | RH_DO_DIAL),
        [RH_EV_CAND_UP]           = GO(SWITCHING_LOST, RH_DO_CONNECT),
        [RH_EV_CAND_FAILED]       = NONE,
    },
    [RH_SPARING] = {
        [RH_EV_WANT]              = GO(DIALING,        RH_DO_DROP_SPARE | RH_DO_DROP_CAND | RH_DO_DIAL),
        [RH_EV_CANCEL]            = GO(IDLE,           RH_DO_DROP_SPARE | RH_DO_DROP_CAND),
        [RH_EV_SPARE_UP]          = GO(DRAINING,       RH_DO_HOLD | RH_DO_DRAIN),
        [RH_EV_SPARE_NONE]        = GO(DRAINING,       RH_DO_HOLD | RH_DO_DROP_SPARE | RH_DO_DRAIN),
        [RH_EV_SPARE_FAILED]      = GO(IDLE,           RH_DO_REPORT_FAILED | RH_DO_DROP_SPARE | RH_DO_DROP_CAND),
        [RH_EV_CAND_FAILED]       = GO(IDLE,           RH_DO_REPORT_FAILED | RH_DO_DROP_SPARE | RH_DO_DROP_CAND),
        [RH_EV_OLD_LOST]          = GO(SWITCHING_LOST, RH_DO_REPORT_LOST | RH_DO_HOLD | RH_DO_DROP_SPARE | RH_DO_CLOSE_OLD | RH_DO_CONNECT),
    },
    /* With a spare where the session has to leave. */
    [RH_DRAINING] = {
        [RH_EV_WANT]              = GO(DIALING,        RH_DO_DROP_SPARE | RH_DO_DROP_CAND | RH_DO_DIAL | RH_DO_RELEASE),
        [RH_EV_CANCEL]            = GO(IDLE,           RH_DO_DROP_SPARE | RH_DO_DROP_CAND | RH_DO_RELEASE),
        [RH_EV_SPARE_NONE]        = GO(DRAINING,       RH_DO_DROP_SPARE),
        [RH_EV_SPARE_FAILED]      = GO(IDLE,           RH_DO_REPORT_FAILED | RH_DO_DROP_SPARE | RH_DO_DROP_CAND | RH_DO_RELEASE),
        [RH_EV_DRAINED]           = GO(BARRIER,        RH_DO_PING),
        [RH_EV_DRAINED_LEAVE]     = GO(LEAVING,        RH_DO_DISCONNECT),
        [RH_EV_CAND_FAILED]       = GO(IDLE,           RH_DO_REPORT_FAILED | RH_DO_DROP_SPARE | RH_DO_DROP_CAND | RH_DO_RELEASE),
        [RH_EV_OLD_LOST]          = GO(SWITCHING_LOST, RH_DO_REPORT_LOST | RH_DO_CLOSE_OLD | RH_DO_CONNECT),
    },
    [RH_BARRIER] = {
        [RH_EV_WANT]              = GO(DIALING,        RH_DO_DROP_CAND | RH_DO_DIAL | RH_DO_RELEASE),
        [RH_EV_CANCEL]            = GO(IDLE,           RH_DO_DROP_CAND | RH_DO_RELEASE),
        [RH_EV_CLEAR]             = GO(SWITCHING,      RH_DO_CONNECT),
        [RH_EV_CAND_FAILED]       = BACK,
        [RH_EV_OLD_LOST]          = GO(SWITCHING_LOST, RH_DO_REPORT_LOST | RH_DO_CLOSE_OLD | RH_DO_CONNECT),
    },
    [RH_LEAVING] = {
        /* What is not wanted any more is not shown to the broker. */
        [RH_EV_WANT]              = GO(DIALING_LOST,   RH_DO_DROP_SPARE | RH_DO_DROP_CAND | RH_DO_CLOSE_OLD | RH_DO_DIAL),
        [RH_EV_CANCEL]            = GO(LEAVING,        RH_DO_DROP_CAND | RH_DO_TAKE_SPARE),
        [RH_EV_OLD_LOST]          = GO(SWITCHING_LOST, RH_DO_CLOSE_OLD | RH_DO_CONNECT),
        [RH_EV_TIMEOUT]           = GO(SWITCHING_LOST, RH_DO_CLOSE_OLD | RH_DO_CONNECT),
        [RH_EV_SPARE_NONE]        = GO(LEAVING,        RH_DO_DROP_SPARE),
        [RH_EV_CAND_FAILED]       = GO(WAITING,        RH_DO_REPORT_FAILED | RH_DO_DROP_CAND | RH_DO_CLOSE_OLD | RH_DO_WAIT),
        [RH_EV_CAND_FAILED_SPARE] = GO(LEAVING,        RH_DO_REPORT_FAILED | RH_DO_DROP_CAND | RH_DO_TAKE_SPARE),
    },
    [RH_SWITCHING] = {
        [RH_EV_ACCEPTED]          = GO(IDLE,           RH_DO_CLOSE_OLD | RH_DO_ADOPT | RH_DO_RELEASE),
        [RH_EV_CAND_FAILED]       = BACK,
        /* The broker ends the old leg before it answers on the new one. */
        [RH_EV_OLD_LOST]          = GO(SWITCHING_LOST, RH_DO_CLOSE_OLD),
    },
    [RH_SWITCHING_LOST] = {
        [RH_EV_ACCEPTED]          = GO(IDLE,           RH_DO_DROP_SPARE | RH_DO_ADOPT | RH_DO_RELEASE),
        [RH_EV_SPARE_NONE]        = GO(SWITCHING_LOST, RH_DO_DROP_SPARE),
        [RH_EV_CAND_FAILED]       = NONE,
        [RH_EV_CAND_FAILED_SPARE] = GO(SWITCHING_LOST, RH_DO_REPORT_FAILED | RH_DO_DROP_CAND | RH_DO_TAKE_SPARE | RH_DO_CONNECT),
    },
};
/* clang-format on */

unsigned rehome_step(enum rehome_phase *phase, enum rehome_event ev)
{
    const struct rule *r = &rules[*phase][ev];

    if (r->actions != 0)
        *phase = r->next;
    return r->actions;
}

const char *rehome_phase_name(enum rehome_phase phase)
{
    static const char *const names[RH_PHASES] = {
        [RH_IDLE] = "idle",           [RH_WAITING] = "waiting",
        [RH_DIALING] = "dialing",     [RH_DIALING_LOST] = "dialing-lost",
        [RH_SPARING] = "sparing",     [RH_DRAINING] = "draining",
        [RH_BARRIER] = "barrier",     [RH_LEAVING] = "leaving",
        [RH_SWITCHING] = "switching", [RH_SWITCHING_LOST] = "switching-lost",
    };

    return names[phase];
}

const char *rehome_event_name(enum rehome_event ev)
{
    static const char *const names[RH_EVENTS] = {
        [RH_EV_WANT] = "want",
        [RH_EV_CANCEL] = "cancel",
        [RH_EV_CAND_UP] = "cand-up",
        [RH_EV_CAND_UP_LEAVE] = "cand-up-leave",
        [RH_EV_CAND_FAILED] = "cand-failed",
        [RH_EV_CAND_FAILED_SPARE] = "cand-failed-spare",
        [RH_EV_SPARE_UP] = "spare-up",
        [RH_EV_SPARE_NONE] = "spare-none",
        [RH_EV_SPARE_FAILED] = "spare-failed",
        [RH_EV_OLD_LOST] = "old-lost",
        [RH_EV_DRAINED] = "drained",
        [RH_EV_DRAINED_LEAVE] = "drained-leave",
        [RH_EV_CLEAR] = "clear",
        [RH_EV_TIMEOUT] = "timeout",
        [RH_EV_RETRY] = "retry",
        [RH_EV_ACCEPTED] = "accepted",
    };

    return names[ev];
}

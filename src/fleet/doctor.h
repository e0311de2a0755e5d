/* fleet/doctor.h - `doctor`: what is wrong with the fleet, gateway by gateway, and what to do.
 *
 * The judgement is pure: the view, what gateways have answered to `status`, and the time go in,
 * findings come out.
 */
#ifndef FLEET_DOCTOR_H
#define FLEET_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleet/command.h"
#include "fleet/view.h"

struct campaign;
struct json_t;

enum doctor_severity { DOCTOR_GOOD, DOCTOR_WARNING, DOCTOR_ERROR };

struct doctor_finding {
    enum doctor_severity severity;
    const char *code;    /* static: "clock.unsynchronised" */
    const char *gateway; /* borrowed */
    char *text, *remedy; /* owned; sentences for people */
};

/* One gateway; all borrowed. */
struct doctor_patient {
    const struct view_gateway *seen;
    const struct json_t *reply;   /* to `status`; NULL: none has come */
    const char *refused;          /* the broker has not taken the question; NULL: it has */
    bool asked;                   /* it was online */
    int64_t sent_ms, came_ms;     /* of question and reply, wall clock */
    enum doctor_severity verdict; /* set by the judgement */
};

struct doctor {
    struct doctor_finding *all; /* owned */
    size_t count, cap;
    bool failed; /* out of memory: some finding is missing */
};

/* What to judge by. */
struct doctor_rules {
    int64_t now_s;
    bool signs; /* the campaign has an operator's key */
    /* Is the device looked at?  NULL: every one is. */
    bool (*wants_device)(const struct campaign *c, const char *device);
    const struct campaign *campaign; /* for that */
};

/* Findings are sorted: errors first, equal ones of several gateways together. */
void doctor_judge(struct doctor *d, const struct doctor_rules *rules, struct doctor_patient *all,
                  size_t n);
void doctor_fini(struct doctor *d);

const char *doctor_severity_name(enum doctor_severity s); /* "warning" */

enum fleet_status doctor_command(const struct fleet_command *c, struct err *err);

#endif

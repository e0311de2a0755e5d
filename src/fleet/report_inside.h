/* fleet/report_inside.h - what is reported, between who reads it and who writes the page. */
#ifndef FLEET_REPORT_INSIDE_H
#define FLEET_REPORT_INSIDE_H

#include "fleet/report.h"

#define REPORT_VERSION 1    /* of the JSON: rises when something means something else */
#define REPORT_NOTES   2000 /* of the diary */

/* Sorted. */
struct report_times {
    int64_t *at; /* owned */
    size_t count, cap;
};

struct report_note {
    int64_t time_s;
    char what[40], gateway[FLEET_NAME_MAX + 1];
    char *text; /* owned */
};

struct report {
    const struct campaign *campaign; /* borrowed; may be NULL */
    const char *file;                /* borrowed */
    struct overview overview;
    struct report_times migrated, failed;        /* when; wall clock */
    struct report_times took;                    /* seconds from the order to the commit */
    struct report_times old_until, in_use_until; /* notAfter before, and of what is used now */
    size_t again;                                /* devices that were flipped more than once */
    struct report_note *notes;                   /* owned; those of single devices left out */
    size_t note_count, note_count_all;
    struct json_t *stragglers; /* owned */
};

size_t report_up_to(const struct report_times *t, int64_t v);            /* how many are <= v */
int64_t report_quantile(const struct report_times *t, unsigned percent); /* 0 of none */
void report_span(const struct report *r, int64_t *from_s, int64_t *until_s);

#endif

/* cli/watch_model.h - what there is to watch, and which of it in which order.  Pure: JSON in, rows
 * out; no terminal, no daemon, no clock.
 */
#ifndef CLI_WATCH_MODEL_H
#define CLI_WATCH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t; /* jansson's */
struct map;

/* From the gravest on; the default order. */
enum watch_rank {
    WATCH_TRIAL,  /* something is under way */
    WATCH_BROKEN, /* online, and without a connection to its broker; or its identity is unusable */
    WATCH_CAME_BACK, /* rolled back: somebody has to mend something */
    WATCH_ENDING,    /* the identity in use ends within SOON */
    WATCH_STAGED,
    WATCH_FINE,
    WATCH_RANKS
};

#define WATCH_SOON_S (INT64_C(30) * 86400)

enum watch_sort { WATCH_BY_NEED, WATCH_BY_NAME, WATCH_BY_EXPIRY, WATCH_BY_PHASE, WATCH_SORTS };
enum watch_filter {
    WATCH_ALL,
    WATCH_ONLY_TRIALS,
    WATCH_ONLY_TROUBLE, /* broken, or came back, or ending */
    WATCH_ONLY_OFFLINE,
    WATCH_ONLY_STAGED,
    WATCH_FILTERS
};

const char *watch_sort_name(enum watch_sort s);
const char *watch_filter_name(enum watch_filter f);

struct watch_device {
    struct json_t *brief; /* owned: BRIEF of rpc.h */
    const char *name;     /* of it */
    enum watch_rank rank;
    int64_t ends_s; /* of the identity in use; INT64_MAX: none */
};

struct watch_model {
    struct map *by_name;         /* struct watch_device */
    struct watch_device **all;   /* owned; by name */
    struct watch_device **shown; /* owned array, of the same */
    size_t count, shown_count, capacity;
    int64_t epoch, after; /* for device.changes; -1: nothing is known yet */
    enum watch_sort sort;
    enum watch_filter filter;
    size_t widest;   /* columns of the longest name that is shown */
    char search[64]; /* a glob, or part of the name; "": any */
};

int watch_init(struct watch_model *m); /* 0 or -ERR_NOMEM */
void watch_fini(struct watch_model *m);

/* Take the answer of device.changes.  Returns true when it has changed something. */
bool watch_take(struct watch_model *m, struct json_t *changes, int64_t now_s);

/* Choose and order what is shown; after watch_take, and when sort, filter or search have changed.
 */
void watch_arrange(struct watch_model *m);

/* Where the device of this name is among those shown; `otherwise` when it is not. */
size_t watch_place(const struct watch_model *m, const char *name, size_t otherwise);

enum watch_rank watch_rank_of(const struct json_t *brief, int64_t now_s);

/* What is to be said of a device in a line: how far it has come, or what is wrong.  *remedy, where
 * there is one, borrows from it, or is "". */
void watch_say(const struct json_t *brief, int64_t now_s, char *out, size_t n, const char **remedy);

/* "213 d", "5 h", "over", "-": until a certificate ends. */
const char *watch_until(const struct json_t *brief, const char *slot, int64_t now_s, char out[16]);

#endif

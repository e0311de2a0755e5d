/* control/dispatch_inside.h - what the dispatcher and the methods share.
 *
 * dispatch.c has the table and what is the same for every method: who may, parameters, audit, once
 * for each request id.  The methods stand by family in files of their own; their parameters were
 * checked by the row before they see them, so they take for granted what the row says.
 *
 * For the files dispatch*.c and methods_*.c alone.  Main thread.
 */
#ifndef CONTROL_DISPATCH_INSIDE_H
#define CONTROL_DISPATCH_INSIDE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "control/dispatch.h"
#include "control/jsonrpc.h"

struct hub_device;

/* Takes the reply; NULL: it is not to be had any more. */
typedef void call_end_fn(void *arg, json_t *reply);

/* One request on its way. */
struct call {
    struct dispatch *d;          /* borrowed; NULL: the dispatcher was stopped */
    const struct caller *caller; /* borrowed from whoever asked, who waits for the end */
    enum rpc_method method;
    json_t *params;    /* borrowed from the request; an object */
    json_t *result;    /* owned; set on success */
    char target[256];  /* for the audit log */
    char outcome[900]; /* likewise; "": nothing to write down */
    struct rpc_fault fault;

    json_t *whole;              /* owned reference: what `request` borrows from */
    struct rpc_request request; /* as it came */
    char *key;                  /* owned; its reply is kept under it, NULL: it is not */
    bool admitted;              /* whoever asks may ask it */
    bool later;                 /* it answers when its work is done */
    bool done;                  /* what it asked for stays done if the flush fails */
    struct list link;           /* in the dispatcher's calls, when later */
    struct list waiting;        /* struct waiter: who waits for the end */
};

/* -- work that takes long -- */

struct job; /* dispatch_job.c's */

/* Give `work` to a thread.  `done` is called on the main thread: it gives the call more work, or
 * sets its result or fault and calls call_end.  Where `c` is NULL nobody waits any more, and the
 * hub may be gone: it frees what `arg` owns.  When this fails, without memory, the fault is set, -1
 * returned and nothing called. */
typedef void job_work_fn(void *arg);
typedef void job_done_fn(struct call *c, void *arg);
int call_later(struct call *c, job_work_fn *work, job_done_fn *done, void *arg);

/* The call has its result or fault: write down what came of it, and tell those who wait.  It is
 * gone afterwards. */
void call_end(struct call *c);

/* Those that wait for work to begin or end are told of the stop. */
void jobs_stop(struct dispatch *d);

/* A parameter that is a text; borrows, NULL when it was not given. */
const char *call_text(const struct call *c, const char *name);
json_int_t call_number(const struct call *c, const char *name, json_int_t otherwise);
bool call_flag(const struct call *c, const char *name); /* false when it was not given */
/* Say so in the audit log's target, however long that is: "(forced)". */
void call_note(struct call *c, const char *what);

/* -- devices: dispatch_target.c -- */

/* The call's fault: there is no such device.  Returns -1. */
int call_refuse_device(struct call *c, const char *name);

/* Every word of a target must match something.  Returns 0, or -1 with the call's fault. */
int target_check(struct call *c, const json_t *target);
bool target_has(const json_t *target, const char *name);
/* Is the device named, not only matched? */
bool target_names(const json_t *target, const char *name);
/* The same as target_has; no target (NULL) is all of them. */
bool target_wants(const json_t *target, const char *name);

/* What became of each device. */
struct outcome {
    json_t *refused, *done; /* owned arrays */
    size_t refused_count, done_count;
    struct rpc_fault first; /* of the refused; its list is not used */
};

void outcome_begin(struct outcome *o);
/* Takes what the fault owns. */
void outcome_refused(struct outcome *o, const struct hub_device *d, struct rpc_fault *f);
/* Returns its row, to be added to (borrowed), or NULL when there are too many. */
json_t *outcome_done(struct outcome *o, const struct hub_device *d, bool changed);
void outcome_free(struct outcome *o); /* of a call that nobody waits for */
/* Turn it into the call's result, or its fault when all were refused; `o` is gone. */
int outcome_end(struct outcome *o, struct call *c);

/* What a method does with one device: sets the fault, or *changed where it was not there already.
 */
typedef void on_device_fn(struct call *c, struct hub_device *d, void *arg, bool *changed,
                          struct rpc_fault *f);
/* Do it with each device of the parameter "target". */
int on_targets(struct call *c, on_device_fn *each, void *arg);

/* -- once for each id: dispatch_once.c -- */

/* The key of a request whose reply is to be kept, or NULL.  Returns owned. */
char *once_key(const struct caller *caller, const struct rpc_request *r);
/* The reply of the first time, or NULL when this is the first time; or, with *reused, when the key
 * was that of something else.  Returns owned. */
json_t *once_reply(struct dispatch *d, const char *key, const struct caller *caller,
                   const struct rpc_request *r, bool *reused);
/* Is it the request that was kept, or is under way, under its key? */
bool once_same(const struct caller *caller, const struct rpc_request *a,
               const struct rpc_request *b);
/* A reply that the id was used for something else.  Returns owned. */
json_t *once_reused(const struct rpc_request *r);
/* Written with the next flush of the hub.  Takes key. */
void once_keep(struct dispatch *d, char *key, const struct caller *caller,
               const struct rpc_request *r, json_t *reply);

/* -- the methods: each sets the result, or returns -1 with the fault, or returns 0 after call_later
 * -- */

int do_status(struct call *c); /* methods_gateway.c */
int do_config_reload(struct call *c);
int do_audit_list(struct call *c);
int do_help(struct call *c);

int do_log_level(struct call *c); /* methods_log.c */
int do_log_recent(struct call *c);

int do_crl_update(struct call *c); /* methods_crl.c */
int do_crl_list(struct call *c);

int do_device_list(struct call *c); /* methods_device.c */
int do_device_changes(struct call *c);
int do_device_get(struct call *c);
int do_sessions_list(struct call *c);

int do_identity_keygen(struct call *c); /* methods_identity.c */
int do_identity_install(struct call *c);
int do_identity_discard(struct call *c);
int do_identity_export(struct call *c);
int do_retire(struct call *c);
int do_identity_lint(struct call *c);   /* methods_lint.c */
int do_identity_import(struct call *c); /* methods_import.c */
int do_rekey(struct call *c);
int do_trust_list(struct call *c); /* methods_trust.c */
int do_trust_add(struct call *c);
int do_trust_check(struct call *c);
int do_trust_remove(struct call *c);

int do_flip(struct call *c); /* methods_flip.c */
int do_rollback(struct call *c);
int do_confirm(struct call *c);
int do_commit(struct call *c);
int do_quarantine_clear(struct call *c);

#endif

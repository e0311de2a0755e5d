/* control/trust.h - the two sets of anchors at run time: which are in force and where, what depends
 * on each, and changing them.
 *
 * What is in force follows from the configuration's files and from what was changed by command
 * (trust/change.h); the snapshot holds both.  A change is: files in the state directory (made
 * durable), then rows in the transaction that has the audit entry, then a snapshot for the workers,
 * then what is not needed any more goes to the archive.  The rows decide: a file without a row is
 * of a change that never was.  Main thread.
 */
#ifndef CONTROL_TRUST_H
#define CONTROL_TRUST_H

#include "control/hub.h"
#include "trust/set.h"

/* The changes as they are saved.  Where the database is new, they are taken from the files, and
 * saved.  A file that cannot be used is told in the log and by its row's fault.  Returns 0 with
 * *out owned, or a negative code. */
int trust_load(struct store *store, const char *state_dir, struct trust_changes **out,
               struct err *err);

/* The changes as far as the files tell them, for a check while somebody else has the database;
 * returns owned, or NULL when they cannot be read. */
struct trust_changes *trust_of_files(const char *state_dir);

/* One anchor of a set, wherever it comes from. */
struct trust_item {
    enum trust_side side;
    const struct tls_anchor *anchor;   /* borrowed of the snapshot; NULL: its file cannot be used */
    const char *fp;                    /* borrowed */
    const struct trust_change *change; /* borrowed, or NULL: nothing was commanded about it */
    const struct tls_anchor *file;     /* as it stands in a file of the configuration, or NULL */
    bool helper;                       /* an intermediate */
    bool in_force;                     /* for at least one listener or upstream */
    size_t devices, sessions;          /* that depend on it */
};

/* All of them, of both sets, in the order in which they stand there.  Returns an owned array, freed
 * by free(), valid while the snapshot is; NULL when out of memory. */
struct trust_item *trust_items(const struct hub *h, size_t *count);
/* The same with how many depend on each: looks at every device. */
struct trust_item *trust_items_counted(const struct hub *h, size_t *count);

/* Call `each` with the name of every listener (or upstream) for which it is in force. */
void trust_item_serves(const struct hub *h, const struct trust_item *item,
                       void (*each)(void *arg, const char *name), void *arg);

/* Call `each` for every place in a file of the configuration where it stands. */
void trust_item_files(const struct hub *h, const struct trust_item *item,
                      void (*each)(void *arg, const struct tls_anchor *a), void *arg);

/* Is there a listener (an upstream) of that name that has use for anchors? */
bool trust_has_part(const struct hub *h, enum trust_side side, const char *name);
/* Does it stand in the files of every one that the row is for? */
bool trust_stands_in_all(const struct hub *h, enum trust_side side, const char *fp,
                         const struct trust_change *row);
/* A listener (an upstream) that believes this anchor, and would not any more with this row; borrows
 * its name, or NULL. */
const char *trust_takes_away(const struct hub *h, const struct trust_change *row);
/* All that is in force in a set, whichever listener or upstream it is for; to be freed by
 * trust_set_fini.  False when out of memory. */
bool trust_whole(const struct hub *h, enum trust_side side, struct trust_set *out);

enum trust_what {
    TRUST_SENSOR,   /* the device's sensor came in last with a certificate of it */
    TRUST_BROKER,   /* a session of the device has a broker whose certificate is of it */
    TRUST_IDENTITY, /* an identity of the device is of it */
    TRUST_LAST,     /* `name`, a listener or an upstream, would be left without any anchor */
};

struct trust_dependent {
    enum trust_what what;
    const char *name;    /* the device's, or that of the listener or upstream */
    enum flip_slot slot; /* TRUST_IDENTITY */
    unsigned sessions;   /* live ones */
};

/* What would break without it: what no other anchor in force would do for.  Returns how many calls
 * were made. */
size_t trust_dependents(const struct hub *h, enum trust_side side, const char *fp,
                        void (*each)(void *arg, const struct trust_dependent *d), void *arg);

/* Begin a change of what store_folder() holds, which the next hub_flush carries out.  Rows of kind
 * TRUST_REMOVED have their anchor as well.  Returns 0, or a negative code with err when nothing was
 * changed: some context cannot be made so, or a file not be written. */
int trust_begin(struct hub *h, const char *state_dir, const struct trust_change *rows, size_t n,
                struct err *err);

/* How a set is, for status and the retained state. */
struct trust_sum {
    size_t in_force, removed;
    size_t faulty; /* added, and their file cannot be used */
    const struct tls_anchor
        *soonest;   /* of those in force, the one that expires first; NULL: none */
    size_t expired; /* in files, or added */
};
void trust_sum(const struct hub *h, enum trust_side side, struct trust_sum *out);

#endif

/* store/schema.h - the tables, and how a database of an earlier version becomes one of this.
 *
 * For the files of src/store alone.
 */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

#include "store/db.h"

/* What brings a database from one version to the next; the first makes an empty file version 1. */
struct schema_step {
    const char *sql; /* statements, each with its semicolon */
};

extern const struct schema_step schema_steps[];
extern const int schema_version; /* the version that this program reads: how many steps there are */

/* Refuse a database that is not certflip's, and one of a later version than `latest`.  Only reads.
 */
int schema_check(struct store *s, int latest, struct err *err);

/* Bring the database to version `count`, each step and its version number in one transaction. */
int schema_migrate(struct store *s, const struct schema_step *steps, int count, struct err *err);

#endif
